#pragma once
// Work in the file system that may hang there, on a thread that nobody has to wait for.

#include <cstdint>
#include <functional>
#include <memory>

#include "common/file_system.h"

namespace contrail::worker {

class Errand {
 public:
  // `work` gets a file system that counts and can be cut; it owns all else that it uses, and keeps
  // its failures to itself. `fs` must outlive the process' threads. Where there is no thread to be
  // had, it is not done.
  Errand(FileSystem& fs, std::function<void(FileSystem& fs)> work);
  // Leaves the thread at it.
  ~Errand();
  Errand(const Errand&) = delete;
  Errand& operator=(const Errand&) = delete;

  // Waits until it is done, and tells of operations as they come back. False where none came back
  // for so long: then it is left, and changes nothing any more but by the operation that hangs.
  bool Wait(double stall_seconds, const std::function<void(uint64_t operations)>& moved = {});

 private:
  struct State;
  const std::shared_ptr<State> state_;  // shared with the thread
};

}  // namespace contrail::worker
