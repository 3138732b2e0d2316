#include "launcher/stop_signals.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cmath>

#include "common/error.h"
#include "common/inherited_signal.h"

namespace contrail::launcher {

StopSignals::StopSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    // Blocked, one that is ignored would be queued all the same.
    if (!InheritedIgnored(signal)) sigaddset(&set, signal);
  }
  pthread_sigmask(SIG_BLOCK, &set, &before_);
  fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd_ < 0) throw EnvironmentError("E-SPAWN", "signalfd", ErrnoText(errno));
}

StopSignals::~StopSignals() {
  close(fd_);
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void StopSignals::Take() {
  signalfd_siginfo info{};
  while (read(fd_, &info, sizeof info) == sizeof info) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (first_ != 0 && signal == SIGINT) at_once_ = true;
    if (first_ == 0) first_ = signal;
  }
}

void StopSignals::Wait(double seconds) {
  pollfd entry = {fd_, POLLIN, 0};
  poll(&entry, 1, static_cast<int>(std::ceil(seconds * 1000)));
  Take();
}

}  // namespace contrail::launcher
