#include "launcher/supervisor.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <optional>

#include "common/clock.h"
#include "common/error.h"
#include "common/host_name.h"
#include "launcher/commands.h"
#include "launcher/ranks.h"
#include "launcher/run_setup.h"

namespace contrail::launcher {
namespace {

using Kind = AttemptEnd::Kind;

constexpr double kFlush = 1;         // seconds for a reader of stderr
constexpr double kClaimLook = 0.02;  // seconds

double Now() { return SystemClock().Monotonic(); }

}  // namespace

Supervisor::Supervisor(const Job& job, LeaseKeeper& lease, int first_attempt, StopSignals& signals,
                       StderrThread& stderr_thread)
    : job_(job),
      lease_(lease),
      signals_(signals),
      stderr_(stderr_thread),
      mpirun_(FindMpirun(job.config)),
      worker_(WorkerProgram()),
      threads_(ThreadsPerRank(job.config, job.allocation)),
      shared_memory_(job.run.root),
      first_attempt_(first_attempt),
      attempt_(first_attempt),
      record_(PosixFileSystem(), job.run),
      policy_({.max_restarts = job.config.launcher.max_restarts,
               .outage_seconds = 60 * job.config.launcher.outage_minutes}),
      reporter_(job.run.root, job.config.telemetry.status_seconds),
      closing_(job.config.train.global_batch_size, record_, reporter_),
      from_(job.from) {}

Outcome Supervisor::Run() {
  try {
    record_.TidyUp();
    committed_ = record_.NewestCommitted();
    trained_ = committed_ != 0;  // what cannot be told is not "never"
    return Attempts();
  } catch (...) {
    if (!run_lost_) record_.Append(ledger_.Close());
    throw;
  }
}

Outcome Supervisor::Attempts() {
  for (;;) {
    const AttemptEnd end = RunAttempt();
    // The ranks may know it before we do.
    if (lease_.lost() || end.failure.error_id == "E-FENCED") throw RunLost();
    Learn(end);
    if (end.kind == Kind::kDone) return Done();
    if (end.kind == Kind::kStopped) return Stopped();
    const Progress progress = {
        .committed = committed_in_attempt_, .training = end.last.training, .trained = trained_};
    if (Refused(end, progress)) return Refuse(end);
    reporter_.Failed(end.failure, end);
    record_.Append(ledger_.Open(end, attempt_, Ranks(), SystemClock().Now()));
    if (signals_.stop()) return FailedWhileStopping(end);
    const Decision decision = policy_.Decide(end.failure, progress, Now());
    const bool restart = decision.action == Decision::Action::kRestart;
    ledger_.Decide(restart ? "restart" : "give_up", Committed(), Ranks());
    if (!restart) return GiveUp(end, decision);
    lease_.Set(attempt_, "restarting");
    reporter_.Restarting(attempt_ + 1, committed_, decision.backoff);
    signals_.Wait(decision.backoff);
    if (signals_.stop()) return Stopped();
  }
}

// Another launcher took this one for dead and has the run: its files are not ours any more.
Error Supervisor::RunLost() {
  run_lost_ = true;
  return UserError("E-RUN-BUSY", job_.run.root, "another launcher took the run over",
                   "this one ended its ranks and keeps off");
}

// An attempt that cannot be started is one that failed.
AttemptEnd Supervisor::RunAttempt() {
  AttemptEnd end;
  tally_.Begin();
  const double begin = Now();
  try {
    end = StartAndWatch();
  } catch (const std::exception& error) {
    shared_memory_.RemoveAll();
    if (run_lost_) throw;
    const auto* ours = dynamic_cast<const Error*>(&error);
    end.failure.cause = Cause::kStartFailed;
    end.failure.host = HostName();
    end.failure.error_id = ours != nullptr ? ours->id() : "";
    end.failure.detail = error.what();
    end.last_sign = begin;
    end.noticed = end.gone = Now();
  }
  tally_.End(end);
  return end;
}

AttemptEnd Supervisor::StartAndWatch() {
  if (started_++ > 0 && !ClaimNext()) return {.kind = Kind::kStopped};
  lease_.Set(attempt_, "running");
  if (lease_.lost()) throw RunLost();
  shared_memory_.RemoveAll();
  const AttemptPlan plan = Plan();
  reporter_.Started(attempt_, plan.ranks, threads_, plan.from ? plan.from : committed_);
  AttemptEnd end;
  {
    Attempt attempt(plan, signals_, learned_, [this](const JobView& view) { See(view); });
    end = attempt.Run();
  }
  shared_memory_.RemoveAll();
  return end;
}

// False where a stop is asked for while the file system does not answer.
bool Supervisor::ClaimNext() {
  std::future<int> number = record_.Claim(attempt_ + 1, OwnLease(attempt_ + 1, job_.allocation));
  if (!number.valid())
    throw EnvironmentError("E-IO", job_.run.root, "the file system stands still");
  while (number.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    signals_.Wait(kClaimLook);
    if (signals_.stop()) return false;
  }
  attempt_ = number.get();
  return true;
}

AttemptPlan Supervisor::Plan() const {
  AttemptPlan plan;
  plan.config = &job_.config;
  plan.allocation = job_.allocation;
  plan.mpirun = mpirun_;
  plan.worker = worker_;
  plan.run_dir = job_.run.root;
  plan.attempt = attempt_;
  plan.owner = OwnerToken();
  plan.consent = job_.consent;
  plan.ranks = Ranks();
  plan.threads = threads_;
  plan.cores = UsableCores();
  const SharedNames names = shared_memory_.Names(attempt_, OwnerToken());
  plan.board = names.board;
  plan.scratch = names.scratch;
  plan.from = from_;
  return plan;
}

// With every look at the ranks, about ten a second: nothing here waits for a file system.
void Supervisor::See(const JobView& view) {
  if (lease_.lost()) throw RunLost();
  if (signals_.stop() && !said_stopping_) {
    said_stopping_ = true;
    reporter_.Stopping(sigabbrev_np(signals_.signal()));
  }
  tally_.See(view);
  reporter_.See(view);
  if (const auto incident = ledger_.See(view)) {
    record_.Append(incident);
    reporter_.Recovered(*incident);
  }
  // What ends no attempt becomes an incident of its own as it happens.
  TakeNotes(record_.NewNotes(attempt_, Ranks(), view.now));
  if (const auto replaced = record_.NewReplaced(view.now)) reporter_.Replaced(*replaced);
}

void Supervisor::TakeNotes(const std::vector<monitor::Incident>& notes) {
  for (const monitor::Incident& note : notes) {
    record_.Append(note);
    reporter_.Noted(note);
  }
}

// What the attempt leaves: skipped steps, checkpoints.
void Supervisor::Learn(const AttemptEnd& end) {
  TakeNotes(record_.NewNotes(attempt_, Ranks(), Now(), /*all=*/true));
  const std::optional<uint64_t> newest = record_.NewestCommitted();
  const bool said = end.last.training && end.last.committed_step > end.last.base_step;
  committed_in_attempt_ = said || (newest && committed_ && *newest > *committed_);
  committed_any_ = committed_any_ || committed_in_attempt_;
  if (newest) {
    committed_ = newest;
  } else if (said) {
    committed_ = end.last.committed_step;
  }
  if (from_ && record_.WentOnFrom(*from_).value_or(false)) from_.reset();
  trained_ = trained_ || Committed() > 0 || tally_.trained();
}

Outcome Supervisor::Done() {
  record_.Append(ledger_.Close());
  if (!job_.config.eval.zero_shot.empty()) return Evaluate();
  closing_.Write(Summary("done"));
  return {.exit_code = kExitDone};
}

// What was trained is on record before, whatever becomes of the evaluation and of this process.
Outcome Supervisor::Evaluate() {
  monitor::Summary trained = Summary("evaluating");
  trained.eval = "{}";
  record_.WriteMeanwhile(trained);
  reporter_.Evaluating(job_.config.eval.zero_shot);
  stderr_.Flush(kFlush);  // the evaluation writes there itself
  std::optional<Error> failed;
  Evaluation evaluation;
  try {
    evaluation = EvaluateAtTheEnd(job_.config, job_.run, UsableCores(), signals_);
    // What is left to do is the evaluation alone, which a resume does.
    if (evaluation.stopped) return Stopped();
    record_.WriteEvaluation(Committed(), evaluation.text);
  } catch (const Error& error) {
    failed = error;
  }
  monitor::Summary summary = Summary(failed ? "gave_up" : "done");
  summary.eval = evaluation.json;
  if (failed) summary.message = failed->what();
  closing_.Write(summary);
  if (failed) return {.exit_code = kExitGaveUp, .last_line = failed->what()};
  return {.exit_code = kExitDone};
}

Outcome Supervisor::Stopped() {
  record_.Append(ledger_.Close());
  closing_.Write(Summary("stopped"));
  return {.exit_code = kExitStopped};
}

// A rank died while the others were saving: what the newest checkpoint holds is safe.
Outcome Supervisor::FailedWhileStopping(const AttemptEnd& end) {
  ledger_.Decide("give_up", Committed(), Ranks());
  record_.Append(ledger_.Close());
  const bool safe = Committed() > 0 || end.failure.step == 0;
  monitor::Summary summary = Summary(safe ? "stopped" : "failed");
  summary.message = end.failure.detail;
  closing_.Write(summary);
  return {.exit_code = safe ? kExitStopped : kExitGaveUp};
}

// The ranks found the user's mistake before they finished or took up a step: no incident, as if
// this program had seen it itself.
bool Supervisor::Refused(const AttemptEnd& end, const Progress& progress) const {
  return end.failure.cause == Cause::kUserError && attempt_ == first_attempt_ &&
         end.last.step == 0 && PatienceWith(end.failure, progress) == Patience::kNone;
}

Outcome Supervisor::Refuse(const AttemptEnd& end) {
  if (job_.take_back) job_.take_back();
  return {.exit_code = kExitUser, .last_line = end.failure.detail, .remove_run = job_.created};
}

Outcome Supervisor::GiveUp(const AttemptEnd& end, const Decision& decision) {
  record_.Append(ledger_.Close());
  const bool gave_up = decision.exit_code == kExitGaveUp;
  std::string line = end.failure.detail;
  if (gave_up) {
    const std::string who =
        end.failure.rank >= 0 ? "rank " + std::to_string(end.failure.rank) + ": " : "";
    line = EnvironmentError("E-GAVE-UP", job_.run.root,
                            decision.why + "; last: " + who + end.failure.detail,
                            "cure the cause (" + job_.run.Logs(attempt_) +
                                "), then `contrail resume " + job_.run.root + "`")
               .what();
  }
  monitor::Summary summary = Summary(gave_up ? "gave_up" : "failed");
  summary.message = line;
  closing_.Write(summary);
  return {.exit_code = decision.exit_code, .last_line = line, .curable = decision.curable};
}

monitor::Summary Supervisor::Summary(const std::string& state) {
  return closing_.Summarise(state, Committed(), attempt_, tally_);
}

}  // namespace contrail::launcher
