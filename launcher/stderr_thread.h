#pragma once
// While this lives, what the process says on stderr is written by a thread of its own: a reader
// that stands still (a full pipe, a terminal that is held) stops neither the watching nor a signal.

#include <memory>

namespace contrail::launcher {

class StderrThread {
 public:
  StderrThread();
  // What is left is written; a reader that stands still is not waited for beyond two seconds.
  ~StderrThread();
  StderrThread(const StderrThread&) = delete;
  StderrThread& operator=(const StderrThread&) = delete;

  // Waits until all that was said is written; false where that takes longer.
  bool Flush(double seconds);

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace contrail::launcher
