#include "monitoring/owner/lease_keeper.h"

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

#include "common/clock.h"
#include "common/host_name.h"
#include "common/log.h"
#include "common/token.h"

namespace contrail::monitor {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr double kReleaseWait = 2;  // seconds

}  // namespace

const std::string& OwnerToken() {
  static const std::string token = RandomToken();
  return token;
}

Lease OwnLease(int attempt, const std::string& job) {
  return {.owner = OwnerToken(),
          .attempt = attempt,
          .pid = getpid(),
          .host = HostName(),
          .boot = BootId(),
          .time = SystemClock().Now(),
          .renewals = 0,
          .state = "running",
          .job = job};
}

struct LeaseKeeper::State {
  State(FileSystem& file_system, RunDir directory, Lease first)
      : fs(file_system),
        run(std::move(directory)),
        written(first.attempt),
        lease(std::move(first)) {}

  FileSystem& fs;
  const RunDir run;
  bool warned = false;  // of the thread alone, as what follows
  int written;          // the attempt of the last lease that was written

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  Lease lease;
  uint64_t asked = 0;  // calls of Set, and the end
  uint64_t tried = 0;  // of those, done
  bool ending = false;
  bool lost = false;
};

LeaseKeeper::LeaseKeeper(FileSystem& fs, const RunDir& run, Lease lease)
    : state_(std::make_shared<State>(fs, run, std::move(lease))) {
  // Signals belong to the thread that watches.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([state = state_] { Run(state); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LeaseKeeper::~LeaseKeeper() {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->ending = true;
    state_->lease.state = "released";
    ++state_->asked;
  }
  state_->changed.notify_all();
  Settle(kReleaseWait);
}

void LeaseKeeper::Set(int attempt, const std::string& state) {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->lease.attempt = attempt;
    state_->lease.state = state;
    ++state_->asked;
  }
  state_->changed.notify_all();
}

bool LeaseKeeper::Settle(double seconds) const {
  std::unique_lock<std::mutex> lock(state_->mutex);
  return state_->changed.wait_for(lock, Seconds(seconds),
                                  [this] { return state_->tried == state_->asked; });
}

bool LeaseKeeper::lost() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->lost;
}

void LeaseKeeper::Run(const std::shared_ptr<State>& shared) {
  State& state = *shared;
  std::unique_lock<std::mutex> lock(state.mutex);
  while (!state.ending || state.tried != state.asked) {
    state.changed.wait_for(lock, Seconds(kLeaseRenewal),
                           [&state] { return state.tried != state.asked; });
    const uint64_t asked = state.asked;
    ++state.lease.renewals;
    state.lease.time = SystemClock().Now();
    const Lease lease = state.lease;
    const bool lost = state.lost;
    lock.unlock();
    if (!lost) Renew(state, lease);
    lock.lock();
    state.tried = asked;
    state.changed.notify_all();
  }
}

void LeaseKeeper::Renew(State& state, const Lease& lease) {
  const auto ours = [&] {
    const auto found = ReadLease(state.run, state.fs);
    if (!found || found->owner == lease.owner || found->attempt < state.written) return true;
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.lost = true;
    return false;
  };
  try {
    // Asked again before the name is given: to make the text durable may have taken long enough to
    // be taken for dead.
    if (!ours() || !WriteLeaseIf(state.run, lease, state.fs, ours)) return;
    state.written = lease.attempt;
    ours();  // of two that write at the same time the later attempt has it
    state.warned = false;
  } catch (const std::exception& error) {
    if (!std::exchange(state.warned, true)) {
      LogWarning(std::string("the lease could not be renewed: ") + error.what());
    }
  }
}

}  // namespace contrail::monitor
