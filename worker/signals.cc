#include "worker/signals.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "common/inherited_signal.h"

namespace contrail::worker {
namespace {

std::atomic<int> stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

void OnStop(int signal) { stop_signal.store(signal, std::memory_order_relaxed); }

}  // namespace

void CatchStopSignals() {
  struct sigaction action {};
  action.sa_handler = OnStop;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigset_t stops;
  sigemptyset(&stops);
  for (int signal : {SIGTERM, SIGUSR1}) {
    if (!InheritedIgnored(signal)) sigaction(signal, &action, nullptr);
    sigaddset(&stops, signal);
  }
  // Ctrl-C asks for a stop, too; a second one ends the process at once.
  action.sa_flags |= static_cast<int>(SA_RESETHAND);
  if (!InheritedIgnored(SIGINT)) sigaction(SIGINT, &action, nullptr);
  pthread_sigmask(SIG_UNBLOCK, &stops, nullptr);
}

bool StopRequested() { return StopSignal() != 0; }

int StopSignal() { return stop_signal.load(std::memory_order_relaxed); }

bool ParentWasSent(int signal) {
  std::ifstream status("/proc/" + std::to_string(getppid()) + "/status");
  uint64_t pending = 0;
  for (std::string line; signal > 0 && std::getline(status, line);) {
    if (line.starts_with("SigPnd:") || line.starts_with("ShdPnd:")) {
      pending |= std::strtoull(line.c_str() + 7, nullptr, 16);
    }
  }
  return signal > 0 && (pending >> (signal - 1) & 1) != 0;
}

void DieWithParent() {
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before the call: then no signal would ever come.
  if (getppid() != parent) raise(SIGKILL);
}

}  // namespace contrail::worker
