#pragma once
// mpirun's output -> the node's log, rank-tagged, and the last lines kept for messages.

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/file_system.h"
#include "launcher/background.h"

namespace contrail::launcher {

// "[1,3]<stderr>:text" of `mpirun --tag-output` -> "rank 3: text"; other lines as they are.
std::string RetagLine(const std::string& line);

// Reads `fd` on one thread until its end and writes on another, so that neither a slow disk nor a
// full pipe stops the ranks or the watching. Lines that come while the disk is too far behind are
// dropped, and the log says how many. A log that cannot be written is given up with one warning;
// the pipe is drained on.
class LogPump {
 public:
  // `fs` outlives the process's last thread. Makes the folder of `path` where needed.
  LogPump(int fd, FileSystem& fs, const std::string& path);
  // What the pipe still holds is written; neither a process that lives on nor a disk that hangs is
  // waited for beyond two seconds or so.
  ~LogPump();

  // The last lines (at most 80), oldest first.
  std::deque<std::string> Tail() const;

 private:
  struct Log;
  void Run();
  void Take(const std::string& line, std::string& text);
  void Write(std::string text, size_t lines);

  const int fd_;
  const std::shared_ptr<Log> log_;  // shared with the thread that writes
  mutable std::mutex mutex_;
  std::deque<std::string> tail_;
  size_t dropped_ = 0;  // lines, of the reading thread
  std::atomic<bool> stopping_ = false;
  Background disk_;
  std::thread reader_;
};

}  // namespace contrail::launcher
