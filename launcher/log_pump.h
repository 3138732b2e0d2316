#pragma once
// mpirun's output -> the node's log, rank-tagged, and the last lines kept for messages.

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/file_system.h"

namespace contrail::launcher {

// "[1,3]<stderr>:text" of `mpirun --tag-output` -> "rank 3: text"; other lines as they are.
std::string RetagLine(const std::string& line);

// Reads `fd` on a thread of its own until its end, so that neither a slow disk nor a full pipe
// stops the ranks or the watching. A log that cannot be written is given up with one warning; the
// pipe is drained on.
class LogPump {
 public:
  LogPump(int fd, FileSystem& fs, const std::string& path);
  ~LogPump();  // what the pipe still holds is written; a process that lives on is not waited for

  // The last lines (at most 20), oldest first.
  std::deque<std::string> Tail() const;

 private:
  void Run();
  void Take(const std::string& line);

  const int fd_;
  const std::string path_;
  std::unique_ptr<WritableFile> file_;
  uint64_t written_ = 0;
  mutable std::mutex mutex_;
  std::deque<std::string> tail_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace contrail::launcher
