#pragma once
// Requests to stop, read from a descriptor instead of handled.

#include <csignal>

namespace contrail::launcher {

// SIGINT, SIGTERM, SIGHUP and SIGUSR1 ask for a checkpoint and an end, but for those that were
// ignored when this program began; SIGINT after any of them asks for an end at once. A reader of
// our stderr that goes away (SIGPIPE) ends nothing. They are blocked in the thread that makes this
// object (make it before any other thread starts) and in all threads it starts later.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  int fd() const { return fd_; }  // readable when something came
  void Take();                    // reads what came
  bool stop() const { return first_ != 0; }
  bool at_once() const { return at_once_; }
  int signal() const { return first_; }  // the first that came, 0 before
  // Sleeps, or less when a signal comes.
  void Wait(double seconds);

 private:
  int fd_ = -1;
  int first_ = 0;
  bool at_once_ = false;
  sigset_t before_;
};

}  // namespace contrail::launcher
