#include "launcher/attempt.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "common/clock.h"
#include "common/error.h"
#include "common/host_name.h"
#include "common/strings.h"
#include "launcher/named_cause.h"
#include "launcher/shared_memory.h"
#include "launcher/starters.h"

namespace contrail::launcher {
namespace {

using monitor::Phase;

constexpr int kLookMilliseconds = 100;
constexpr double kStartersEvery = 0.5;  // seconds
constexpr double kMpirunTidy = 0.2;     // seconds for mpirun to notice that its ranks are gone
constexpr double kRemoteStop = 10;      // seconds for mpirun to end ranks on other nodes
constexpr double kKillLimit = 20;       // seconds for killed processes to be gone

double Now() { return SystemClock().Monotonic(); }

HangDetector::Limits LimitsOf(const AttemptPlan& plan) {
  const auto& launcher = plan.config->launcher;
  // The ranks give up a save that stands still by themselves, and begin another: they come first.
  const double save_seconds = 3 * plan.config->checkpoint.stall_seconds;
  return {.hang_seconds = launcher.hang_seconds,
          .start_seconds = launcher.start_seconds,
          .save_seconds = std::max(launcher.start_seconds, save_seconds),
          .collective_seconds = launcher.collective_seconds,
          .other_nodes = !plan.Local()};
}

}  // namespace

Attempt::Attempt(const AttemptPlan& plan, StopSignals& signals, LearnedLimits& learned,
                 std::function<void(const JobView&)> observe)
    : plan_(plan),
      run_{plan.run_dir},
      host_(HostName()),
      signals_(signals),
      observe_(std::move(observe)),
      watch_(plan.board, plan.ranks, plan.Local() ? plan.ranks : 0),
      hangs_(LimitsOf(plan), learned, Now()),
      arrivals_({.hang_seconds = plan.config->launcher.hang_seconds,
                 .start_seconds = plan.config->launcher.start_seconds,
                 .collective_seconds = plan.config->launcher.collective_seconds}),
      previous_look_(Now()) {
  MakeScratch(plan.scratch);
  mpirun_ = std::make_unique<Child>(MpirunCommand(plan));
  pump_ = std::make_unique<LogPump>(mpirun_->output(), PosixFileSystem(),
                                    run_.Logs(plan.attempt) + "/node_0.log");
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
      end->noticed = Now();
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
  AttemptEnd end;
  if (signals_.at_once() || (signals_.stop() && !passed_on_)) {
    end.kind = AttemptEnd::Kind::kStopped;
    return end;
  }
  NoteEnds();
  NoteRecords();
  const Evidence evidence = Gather();
  Verdict verdict = Judge(evidence);
  switch (verdict.kind) {
    case Verdict::Kind::kDone:
      end.kind = AttemptEnd::Kind::kDone;
      return end;
    case Verdict::Kind::kStopped:
      end.kind = AttemptEnd::Kind::kStopped;
      return end;
    case Verdict::Kind::kFailed:
      break;
    case Verdict::Kind::kWait:
      // What is about to be judged is not a hang; ranks that are done may wait for one that is.
      if (mpirun_->Status() || before_first_end_ > 0) return std::nullopt;
      if (auto failed = CheckArrival()) return failed;
      return CheckProgress();
  }
  Failure& failure = verdict.failure;
  // The rank's, or mpirun's, words say more than a code.
  const bool speaks = failure.detail.starts_with("exited") || failure.cause == Cause::kStartFailed;
  if (const std::string line = speaks ? NamedCause(failure.rank) : ""; !line.empty()) {
    failure.detail += ": " + line;
  }
  const bool killed = failure.detail.find("signal 9") != std::string::npos;
  if (killed && failure.host == host_) failure.detail += memory_.Word();
  return Fail(failure, before_first_end_ > 0 ? before_first_end_ : previous_look_);
}

// Ranks of this node that ended, or said how they are about to.
void Attempt::NoteEnds() {
  const JobView& view = watch_.view();
  for (const RankView& rank : view.ranks) {
    const std::optional<monitor::EndRecord>& said = watch_.LastWords(rank.rank);
    if (!rank.exited && !said) continue;
    const auto [place, is_new] = ends_.try_emplace(rank.rank);
    RankEnd& end = place->second;
    if (!is_new) continue;
    end.rank = rank.rank;
    end.host = host_;
    end.step = rank.step;
    end.collective = rank.collective;
    end.record = said;
    end.noticed = view.now;
    if (!said) end.status = watch_.ExitStatus(rank.rank);
    if (!end.Good() && before_first_end_ == 0) before_first_end_ = previous_look_;
  }
}

// Of ranks that said nothing here, once it matters and their records may be complete.
void Attempt::NoteRecords() {
  const JobView& view = watch_.view();
  const auto ended = mpirun_->Status();
  if (ended && mpirun_ended_ == 0) mpirun_ended_ = view.now;
  const bool all_here_said = !view.ranks.empty() && ends_.size() >= view.ranks.size();
  if (!records_ && (ended || (!plan_.Local() && all_here_said))) {
    std::vector<int> silent;
    std::vector<bool> here(static_cast<size_t>(plan_.ranks));
    for (const RankView& rank : view.ranks) here[static_cast<size_t>(rank.rank)] = true;
    for (int rank = 0; rank < plan_.ranks; ++rank) {
      if (!here[static_cast<size_t>(rank)]) silent.push_back(rank);
    }
    records_ = std::make_unique<EndRecordReader>(run_, plan_.attempt, std::move(silent));
  }
  if (!records_) return;
  for (const auto& [rank, record] : records_->Found()) {
    const auto [place, is_new] = ends_.try_emplace(rank);
    if (!is_new) continue;  // noticed once: patience counts from then
    place->second = {rank,   record.host,  record.step, record.collective,
                     record, std::nullopt, view.now};
  }
}

Evidence Attempt::Gather() {
  const JobView& view = watch_.view();
  Evidence evidence;
  evidence.ranks = plan_.ranks;
  evidence.one_node = plan_.Local();
  evidence.allocation = plan_.allocation.has_value();
  evidence.asked = signals_.stop();
  evidence.host = host_;
  evidence.mpirun_pid = mpirun_->pid();
  evidence.shown = static_cast<int>(view.ranks.size());
  for (const auto& [rank, end] : ends_) evidence.ends.push_back(end);
  evidence.mpirun = mpirun_->Status();
  if (evidence.mpirun) evidence.notice = FindMpirunNotice(pump_->Tail());
  evidence.records_read = records_ && records_->LookedOnce();
  evidence.now = view.now;
  evidence.mpirun_ended = mpirun_ended_;
  evidence.patience = plan_.config->launcher.hang_seconds;
  return evidence;
}

// Ranks that do not come up, looked at twice a second.
std::optional<AttemptEnd> Attempt::CheckArrival() {
  const JobView& view = watch_.view();
  if (view.up || hangs_.awake() - starters_seen_ < kStartersEvery) return std::nullopt;
  starters_seen_ = hangs_.awake();
  const std::vector<Starter> starters = StartersOf(mpirun_->pid(), plan_.worker, view.ranks);
  const auto late = arrivals_.Look(starters, view.ranks.size(), hangs_.awake());
  if (!late) return std::nullopt;
  Failure failure;
  failure.cause = Cause::kStartFailed;
  failure.rank = late->who != nullptr ? late->who->rank : -1;
  failure.host = host_;
  failure.detail = std::to_string(plan_.ranks - std::ssize(view.ranks)) + " of " +
                   std::to_string(plan_.ranks) + " ranks did not come up; ";
  failure.detail += late->who != nullptr ? "rank " + std::to_string(late->who->rank) + " " +
                                               StateText(late->who->state) + ", without a sign"
                    : std::any_of(starters.begin(), starters.end(),
                                  [](const Starter& one) { return one.rank >= 0; })
                        ? "those here only wait"
                        : "mpirun starts none";
  failure.detail += " for " + HumanSeconds(late->silent);
  return Fail(failure, view.now - late->silent);
}

std::optional<AttemptEnd> Attempt::CheckProgress() {
  const JobView& view = watch_.view();
  const auto hang = hangs_.Look(view.ranks, view.now, [](int pid) {
    const ProcessSigns signs = SignsOf(pid);
    return HangDetector::Facts{signs.state, signs.cpu_seconds, signs.bytes_read};
  });
  if (!hang) return std::nullopt;
  Failure failure;
  failure.cause = hang->starting ? Cause::kStartFailed : Cause::kRankHung;
  failure.rank = hang->rank;
  failure.host = host_;
  failure.detail = hang->detail;
  failure.step = view.step;
  return Fail(failure, view.now - hang->silent);
}

AttemptEnd Attempt::Fail(Failure failure, double last_sign) const {
  AttemptEnd end;
  end.kind = AttemptEnd::Kind::kFailed;
  end.failure = std::move(failure);
  end.failure.step = std::max(end.failure.step, watch_.view().step);
  end.last_sign = last_sign;
  return end;
}

std::string Attempt::NamedCause(int rank) const {
  usleep(20'000);  // the pump may still be reading it
  if (rank >= 0) return CauseInRanksWords(pump_->Tail(), rank);
  std::string cause = CauseInMpirunsWords(pump_->Tail());
  if (const std::string names = slurm::LeftOver(host_); !names.empty()) {
    cause += (cause.empty() ? "" : "; ") + names +
             " of another job: where that one has ended, unset them";
  }
  return cause;
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
