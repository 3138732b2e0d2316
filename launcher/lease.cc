#include "launcher/lease.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/token.h"

namespace contrail::launcher {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr double kReleaseWait = 2;  // seconds

}  // namespace

std::string HostName() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

const std::string& OwnerToken() {
  static const std::string token = RandomToken();
  return token;
}

monitor::Lease OwnLease(int attempt, const std::optional<slurm::Allocation>& allocation) {
  return {.owner = OwnerToken(),
          .attempt = attempt,
          .pid = getpid(),
          .host = HostName(),
          .time = SystemClock().Now(),
          .renewals = 0,
          .state = "running",
          .job = allocation ? allocation->job_id : ""};
}

struct LeaseKeeper::State {
  State(FileSystem& file_system, monitor::RunDir directory, monitor::Lease first)
      : fs(file_system), run(std::move(directory)), lease(std::move(first)) {}

  FileSystem& fs;
  const monitor::RunDir run;
  bool warned = false;  // of the thread alone

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  monitor::Lease lease;
  uint64_t asked = 0;  // calls of Set, and the end
  uint64_t tried = 0;  // of those, done
  bool ending = false;
  bool lost = false;
};

LeaseKeeper::LeaseKeeper(FileSystem& fs, const monitor::RunDir& run, monitor::Lease lease)
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
    const monitor::Lease lease = state.lease;
    const bool lost = state.lost;
    lock.unlock();
    if (!lost) Renew(state, lease);
    lock.lock();
    state.tried = asked;
    state.changed.notify_all();
  }
}

void LeaseKeeper::Renew(State& state, const monitor::Lease& lease) {
  const auto theirs = [&] {
    const auto found = monitor::ReadLease(state.run, state.fs);
    if (!found || found->owner == lease.owner) return false;
    const std::lock_guard<std::mutex> lock(state.mutex);
    return state.lost = true;
  };
  try {
    if (theirs()) return;
    monitor::WriteLease(state.run, lease, state.fs);
    theirs();  // of two that write at the same time the last one has it
    state.warned = false;
  } catch (const std::exception& error) {
    if (!std::exchange(state.warned, true)) {
      LogWarning(std::string("the lease could not be renewed: ") + error.what());
    }
  }
}

}  // namespace contrail::launcher
