#include "launcher/attempt.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "common/clock.h"
#include "common/error.h"
#include "launcher/blame.h"
#include "launcher/lease.h"
#include "launcher/mpirun_notice.h"

namespace contrail::launcher {
namespace {

using monitor::Phase;

constexpr int kLookMilliseconds = 100;
constexpr double kMpirunLinger = 10;  // seconds for mpirun to end after its ranks
constexpr double kFailedLinger = 2;   // seconds for a rank to end after its last word
constexpr double kMpirunTidy = 0.2;   // seconds for mpirun to notice that its ranks are gone
constexpr double kRemoteStop = 10;    // seconds for mpirun to end ranks on other nodes
constexpr double kKillLimit = 20;     // seconds for killed processes to be gone

double Now() { return SystemClock().Monotonic(); }

}  // namespace

Attempt::Attempt(const AttemptPlan& plan, StopSignals& signals,
                 std::function<void(const JobView&)> observe)
    : plan_(plan),
      run_{plan.run_dir},
      signals_(signals),
      observe_(std::move(observe)),
      watch_(plan.board, plan.ranks, plan.Local() ? plan.ranks : 0),
      start_(Now()),
      hangs_({plan.config->launcher.hang_seconds, plan.config->launcher.start_seconds}, start_),
      previous_look_(start_) {
  FileSystem& fs = PosixFileSystem();
  fs.MakeDirs(run_.Attempt(plan.attempt));
  fs.MakeDirs(run_.Logs(plan.attempt));
  fs.MakeDir(plan.scratch);
  mpirun_ = std::make_unique<Child>(MpirunCommand(plan));
  pump_ = std::make_unique<LogPump>(mpirun_->output(), fs, run_.Logs(plan.attempt) + "/node_0.log");
}

Attempt::~Attempt() {
  if (!mpirun_->Status()) StopEverything();
}

AttemptEnd Attempt::Run() {
  for (;;) {
    Wait();
    const double now = Now();
    observe_(watch_.Look(now));
    PassOnStop();
    if (auto end = Check()) {
      end->last = watch_.view();
      end->noticed = now;
      end->lingering = !StopEverything();
      end->gone = Now();
      return *end;
    }
    previous_look_ = now;
  }
}

void Attempt::Wait() {
  std::vector<pollfd> entries = {{signals_.fd(), POLLIN, 0}};
  if (!mpirun_->Status()) entries.push_back({mpirun_->pidfd().fd(), POLLIN, 0});
  for (const int fd : watch_.Descriptors()) entries.push_back({fd, POLLIN, 0});
  poll(entries.data(), entries.size(), kLookMilliseconds);
  signals_.Take();
}

void Attempt::PassOnStop() {
  // Before the first step there is nothing to save, and no handler for the signal yet: Check()
  // ends the attempt.
  if (!signals_.stop() || passed_on_ || !watch_.view().training) return;
  mpirun_->Kill(SIGUSR1);  // goes to every rank
  passed_on_ = true;
}

std::optional<AttemptEnd> Attempt::Check() {
  if (signals_.at_once() || (signals_.stop() && !passed_on_)) {
    AttemptEnd end;
    end.kind = AttemptEnd::Kind::kStopped;
    return end;
  }
  if (auto end = CheckExits()) return end;
  if (auto end = CheckMpirun()) return end;
  return CheckSilence();
}

std::optional<AttemptEnd> Attempt::CheckExits() {
  std::vector<RankEnd> ends;
  bool talking = false;  // a rank that failed is still alive
  for (const RankView& view : watch_.view().ranks) {
    if (!view.exited && view.phase != Phase::kFailed) continue;
    RankEnd end = {view.rank,
                   HostName(),
                   view.step,
                   view.collective,
                   monitor::ReadEndRecord(run_, plan_.attempt, view.rank),
                   std::nullopt};
    if (!end.record && view.exited) {
      end.status = watch_.Process(view.rank)->ExitStatus(view.pid);
      // A full disk may have kept it from leaving a record; its word and its code tell as much.
      if (view.phase == Phase::kDone && end.status == 0) continue;
    }
    if (!view.exited && !end.record) {
      talking = true;
      continue;
    }
    ends.push_back(std::move(end));
  }
  if (talking) {
    if (failed_since_ == 0) failed_since_ = watch_.view().now;
    if (ends.empty() && watch_.view().now - failed_since_ < kFailedLinger) return std::nullopt;
    for (const RankView& view : watch_.view().ranks) {
      if (view.phase == Phase::kFailed && !view.exited) {
        ends.push_back({view.rank, HostName(), view.step, view.collective, std::nullopt, {}});
      }
    }
  }
  std::optional<Failure> failure = FirstCause(ends);
  if (!failure) return std::nullopt;
  if (failure->cause == Cause::kRankDied && failure->detail.starts_with("exited")) {
    const std::string line = LastLineOf(failure->rank);
    if (!line.empty()) failure->detail += ": " + line;
  }
  return Fail(*failure, previous_look_);
}

std::optional<AttemptEnd> Attempt::CheckMpirun() {
  const JobView& view = watch_.view();
  const bool all_done = view.up && std::all_of(view.ranks.begin(), view.ranks.end(),
                                               [](const RankView& rank) { return rank.exited; });
  if (!mpirun_->Status()) {
    // Every rank here ended well (CheckExits), mpirun does not come to an end.
    if (!all_done) all_done_since_ = view.now;
    if (!plan_.Local() || !all_done || view.now - all_done_since_ < kMpirunLinger) {
      return std::nullopt;
    }
  }
  // The job is over: what do the ranks say, all of them?
  std::vector<RankEnd> ends;
  int records = 0;
  bool stopped = false;
  for (int rank = 0; rank < plan_.ranks; ++rank) {
    RankEnd end = {rank, "", view.step, UINT64_MAX, std::nullopt, std::nullopt};
    end.record = monitor::ReadEndRecord(run_, plan_.attempt, rank);
    // Another node's record may take a moment to show up in a shared file system.
    for (int tries = 0; !end.record && !plan_.Local() && records > 0 && tries < 20; ++tries) {
      usleep(100'000);
      end.record = monitor::ReadEndRecord(run_, plan_.attempt, rank);
    }
    if (end.record) {
      ++records;
      stopped = stopped || end.record->outcome == "stopped";
    }
    ends.push_back(std::move(end));
  }
  std::optional<Failure> failure = FirstCause(ends);
  if (records == 0 && all_done) failure = std::nullopt;  // CheckExits accepted each of them
  if (!failure) {
    AttemptEnd end;
    end.kind = stopped ? AttemptEnd::Kind::kStopped : AttemptEnd::Kind::kDone;
    return end;
  }
  if (records == 0 && view.ranks.empty()) {
    failure->cause = Cause::kStartFailed;
    failure->rank = -1;
    failure->detail = "mpirun " + DescribeExit(mpirun_->Status());
    const std::string line = LastLineOf(-1);
    if (!line.empty()) failure->detail += ": " + line;
  } else if (failure->cause == Cause::kRankDied) {
    usleep(50'000);  // mpirun's last words may still be on their way
    const auto notice = FindMpirunNotice(pump_->Tail());
    // Ranks that live on lost mpirun, not the other way round.
    const bool alive = std::any_of(view.ranks.begin(), view.ranks.end(),
                                   [](const RankView& rank) { return !rank.exited; });
    failure->rank = notice ? notice->rank : alive ? -1 : failure->rank;
    failure->host = notice ? notice->host : "";
    failure->detail = notice  ? notice->detail
                      : alive ? "mpirun " + DescribeExit(mpirun_->Status())
                              : "gone, and mpirun " + DescribeExit(mpirun_->Status());
  }
  return Fail(*failure, previous_look_);
}

std::optional<AttemptEnd> Attempt::CheckSilence() {
  const JobView& view = watch_.view();
  if (!view.up && view.now - start_ > plan_.config->launcher.start_seconds) {
    std::vector<bool> here(static_cast<size_t>(plan_.ranks));
    for (const RankView& rank : view.ranks) here[static_cast<size_t>(rank.rank)] = true;
    Failure failure;
    failure.cause = Cause::kStartFailed;
    failure.rank = static_cast<int>(std::find(here.begin(), here.end(), false) - here.begin());
    failure.host = HostName();
    failure.detail = std::to_string(plan_.ranks - std::ssize(view.ranks)) + " of " +
                     std::to_string(plan_.ranks) +
                     " ranks did not come up in launcher.start_seconds";
    return Fail(failure, start_);
  }
  const auto hang = hangs_.Look(view.ranks, view.now, ProcessState);
  if (!hang) return std::nullopt;
  Failure failure;
  failure.cause = hang->starting ? Cause::kStartFailed : Cause::kRankHung;
  failure.rank = hang->rank;
  failure.host = HostName();
  failure.detail = hang->detail;
  failure.step = view.step;
  return Fail(failure, hang->last_sign);
}

AttemptEnd Attempt::Fail(Failure failure, double last_sign) const {
  AttemptEnd end;
  end.kind = AttemptEnd::Kind::kFailed;
  end.failure = std::move(failure);
  end.failure.step = std::max(end.failure.step, watch_.view().step);
  end.last_sign = last_sign;
  return end;
}

std::string Attempt::LastLineOf(int rank) const {
  usleep(20'000);  // the pump may still be reading it
  const std::string tag = rank < 0 ? "" : "rank " + std::to_string(rank) + ": ";
  std::string found;
  for (const std::string& line : pump_->Tail()) {
    const bool rule = line.find_first_not_of("- ") == std::string::npos;
    if (!rule && line.starts_with(tag)) found = line.substr(tag.size());
  }
  return found;
}

// Kills the ranks first: mpirun, asked to end them, would take two seconds; once they are gone it
// ends within milliseconds, unless it was about to end them itself. False where something is left.
bool Attempt::StopEverything() {
  const double begin = Now();
  const double mpirun_limit = plan_.Local() ? kMpirunTidy : kRemoteStop;
  for (;;) {
    watch_.KillAll();
    std::vector<pid_t> left = SessionMembers(mpirun_->pid());
    std::erase(left, mpirun_->pid());
    for (const pid_t pid : left) kill(pid, SIGKILL);
    bool gone = left.empty() && mpirun_->Status().has_value();
    for (const int fd : watch_.Descriptors()) {
      pollfd entry = {fd, POLLIN, 0};
      gone = gone && poll(&entry, 1, 0) == 1;
    }
    if (gone) return true;
    const double waited = Now() - begin;
    if (waited > mpirun_limit) mpirun_->Kill(SIGKILL);
    if (waited > kKillLimit) return false;
    usleep(waited < 0.1 ? 2'000 : 20'000);
  }
}

}  // namespace contrail::launcher
