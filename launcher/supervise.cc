#include "launcher/supervise.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/load.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "launcher/attempt.h"
#include "launcher/commands.h"
#include "launcher/finish.h"
#include "launcher/ledger.h"
#include "launcher/ranks.h"
#include "launcher/reporter.h"
#include "launcher/run_setup.h"
#include "launcher/shared_memory.h"
#include "monitoring/bad_step.h"
#include "monitoring/damaged_step.h"
#include "slurm/requeue.h"

namespace contrail::launcher {
namespace {

using Kind = AttemptEnd::Kind;

class Supervisor {
 public:
  Supervisor(const Job& job, StopSignals& signals)
      : job_(job),
        signals_(signals),
        mpirun_(FindMpirun(job.config)),
        worker_(WorkerProgram()),
        threads_(ThreadsPerRank(job.config, job.allocation)),
        lease_(job.run, OwnLease(job.first_attempt, job.allocation)),
        committed_(NewestCommitted()),
        policy_({.max_restarts = job.config.launcher.max_restarts}, committed_),
        reporter_(job.run.root, job.config.telemetry.status_seconds) {}

  int Run() {
    for (attempt_ = job_.first_attempt;; ++attempt_) {
      lease_.Set(attempt_, "running");
      const AttemptEnd end = RunAttempt();
      if (end.kind == Kind::kDone) return Done();
      if (end.kind == Kind::kStopped) return Stopped();
      committed_ = NewestCommitted();
      TakeBadSteps();
      TakeDamagedSteps();
      if (Refused(end)) return Refuse(end);
      reporter_.Failed(end.failure, end);
      Append(ledger_.Open(end, attempt_, Ranks(), SystemClock().Now()));
      if (signals_.stop()) return FailedWhileStopping(end);
      const Decision decision = policy_.Decide(end.failure, committed_);
      ledger_.Decide(decision.action == Decision::Action::kRestart ? "restart" : "give_up",
                     committed_, Ranks());
      if (decision.action == Decision::Action::kStop) return GiveUp(end, decision);
      lease_.Set(attempt_, "restarting");
      reporter_.Restarting(attempt_ + 1, committed_, decision.backoff);
      signals_.Wait(decision.backoff);
      if (signals_.stop()) return Stopped();
    }
  }

 private:
  int Ranks() const { return static_cast<int>(job_.config.launcher.ranks); }

  uint64_t NewestCommitted() const {
    const auto steps = ckpt::ListSteps(PosixFileSystem(), job_.run.Checkpoints());
    return steps.empty() ? 0 : steps.front().step;
  }

  AttemptEnd RunAttempt() {
    AttemptPlan plan;
    plan.config = &job_.config;
    plan.allocation = job_.allocation;
    plan.mpirun = mpirun_;
    plan.worker = worker_;
    plan.run_dir = job_.run.root;
    plan.attempt = attempt_;
    plan.ranks = Ranks();
    plan.threads = threads_;
    plan.cores = UsableCores();
    RemoveSharedMemory(job_.run.root);
    const SharedNames names = SharedMemoryNames(job_.run.root, attempt_);
    plan.board = names.board;
    plan.scratch = names.scratch;
    if (attempt_ == job_.first_attempt) plan.from = job_.from;
    reporter_.Started(attempt_, plan.ranks, threads_, plan.from.value_or(committed_));
    training_since_ = 0;
    bad_steps_taken_ = 0;
    damaged_steps_taken_ = 0;
    Attempt attempt(plan, signals_, [this](const JobView& view) { See(view); });
    const AttemptEnd end = attempt.Run();
    RemoveSharedMemory(job_.run.root);
    if (training_since_ > 0) train_seconds_ += end.noticed - training_since_;
    if (end.last.first_step > 0) {
      if (end.last.step > end.last.first_step) {
        steps_trained_ += end.last.step - end.last.first_step;
        steps_seconds_ += last_step_time_ - end.last.first_step_time;
      }
      last_ = end.last;
    }
    return end;
  }

  void See(const JobView& view) {
    if (signals_.stop() && !said_stopping_) {
      said_stopping_ = true;
      reporter_.Stopping(sigabbrev_np(signals_.signal()));
    }
    if (training_since_ == 0 && view.training) training_since_ = view.now;
    if (view.step > 0 && view.step != last_step_) last_step_time_ = view.now;
    last_step_ = view.step;
    reporter_.See(view);
    if (const auto incident = ledger_.See(view)) {
      Append(incident);
      reporter_.Recovered(*incident);
    }
    if (view.now - bad_steps_read_ >= 1) {
      bad_steps_read_ = view.now;
      TakeBadSteps();
      TakeDamagedSteps();
    }
    if (lease_.lost()) {
      throw UserError("E-RUN-BUSY", job_.run.root, "another launcher took the run over",
                      "this one ended its ranks and keeps off");
    }
  }

  // Skipped steps end no attempt: they become incidents of their own as they happen.
  void TakeBadSteps() {
    const std::vector<monitor::BadStep> steps = monitor::ReadBadSteps(job_.run, attempt_);
    for (; bad_steps_taken_ < steps.size(); ++bad_steps_taken_) {
      const monitor::BadStep& step = steps[bad_steps_taken_];
      monitor::Incident incident;
      incident.attempt = attempt_;
      incident.cause = "bad_step";
      incident.rank = step.rank;
      incident.host = step.host;
      incident.detail = step.detail;
      incident.step = step.step;
      incident.ranks_before = incident.ranks_after = Ranks();
      incident.action = "skip";
      incident.time = step.time;
      Append(incident);
    }
  }

  // Nor do steps that were passed over because they are damaged, but work is lost with them.
  void TakeDamagedSteps() {
    const std::vector<monitor::DamagedStep> steps = monitor::ReadDamagedSteps(job_.run, attempt_);
    for (; damaged_steps_taken_ < steps.size(); ++damaged_steps_taken_) {
      const monitor::DamagedStep& step = steps[damaged_steps_taken_];
      monitor::Incident incident;
      incident.attempt = attempt_;
      incident.cause = "checkpoint_damaged";
      incident.detail = step.why;
      incident.step = step.step;
      incident.ranks_before = incident.ranks_after = Ranks();
      incident.action = "skip";
      incident.time = step.time;
      Append(incident);
    }
  }

  void Append(const std::optional<monitor::Incident>& incident) {
    if (!incident) return;
    try {
      monitor::AppendIncident(job_.run, *incident);
    } catch (const Error& error) {
      LogWarning(std::string("an incident could not be recorded: ") + error.what());
    }
  }

  int Done() {
    TakeBadSteps();
    TakeDamagedSteps();
    Append(ledger_.Close());
    committed_ = NewestCommitted();
    monitor::Summary summary = Summarise("done");
    std::optional<Error> failed;
    try {
      if (!job_.config.eval.zero_shot.empty()) reporter_.Evaluating(job_.config.eval.zero_shot);
      summary.eval = EvaluateAtTheEnd(job_.config, job_.run, committed_, UsableCores(), signals_);
    } catch (const Error& error) {
      failed = error;
      summary.message = error.what();
    }
    Finish(summary);
    if (failed) throw *failed;
    return kExitDone;
  }

  int Stopped() {
    TakeBadSteps();
    TakeDamagedSteps();
    Append(ledger_.Close());
    committed_ = NewestCommitted();
    Finish(Summarise("stopped"));
    return kExitStopped;
  }

  // A rank died while the others were saving: what the newest checkpoint holds is safe.
  int FailedWhileStopping(const AttemptEnd& end) {
    ledger_.Decide("give_up", committed_, Ranks());
    Append(ledger_.Close());
    const bool safe = committed_ > 0 || end.failure.step == 0;
    monitor::Summary summary = Summarise(safe ? "stopped" : "failed");
    summary.message = end.failure.detail;
    Finish(summary);
    return safe ? kExitStopped : kExitGaveUp;
  }

  // The ranks found the user's mistake before they finished or took up a step: no incident, as if
  // this program had seen it itself.
  bool Refused(const AttemptEnd& end) const {
    return end.failure.cause == Cause::kUserError && attempt_ == job_.first_attempt &&
           end.last.step == 0;
  }

  int Refuse(const AttemptEnd& end) {
    remove_run_ = job_.created;
    if (job_.take_back) job_.take_back();
    last_line_ = end.failure.detail;
    return kExitUser;
  }

  int GiveUp(const AttemptEnd& end, const Decision& decision) {
    Append(ledger_.Close());
    std::string line = end.failure.detail;
    if (decision.exit_code == kExitGaveUp) {
      const std::string who =
          end.failure.rank >= 0 ? "rank " + std::to_string(end.failure.rank) + ": " : "";
      line = EnvironmentError("E-GAVE-UP", job_.run.root,
                              decision.why + "; last: " + who + end.failure.detail,
                              "cure the cause (" + job_.run.Logs(attempt_) +
                                  "), then `contrail resume " + job_.run.root + "`")
                 .what();
    }
    monitor::Summary summary = Summarise(decision.exit_code == kExitGaveUp ? "gave_up" : "failed");
    summary.message = line;
    Finish(summary);
    last_line_ = line;
    return decision.exit_code;
  }

  monitor::Summary Summarise(const std::string& state) {
    monitor::Summary summary;
    const auto before = monitor::ReadSummary(job_.run);  // of the part before a resume
    summary.state = state;
    summary.steps = std::max(committed_, last_.step);
    summary.samples_seen =
        summary.steps * static_cast<uint64_t>(job_.config.train.global_batch_size);
    if (last_.step > 0) {
      summary.final_loss = last_.loss;
    } else if (before) {
      summary.final_loss = before->final_loss;
    }
    summary.attempts = attempt_;
    summary.incidents = static_cast<int>(monitor::ReadIncidents(job_.run).size());
    summary.wall_seconds = SystemClock().Monotonic() - begin_ + (before ? before->wall_seconds : 0);
    summary.train_seconds = train_seconds_ + (before ? before->train_seconds : 0);
    if (steps_seconds_ > 0) {
      summary.samples_per_second = static_cast<double>(steps_trained_) *
                                   static_cast<double>(job_.config.train.global_batch_size) /
                                   steps_seconds_;
    } else if (before) {
      summary.samples_per_second = before->samples_per_second;
    }
    summary.checkpoints =
        static_cast<int>(ckpt::ListSteps(PosixFileSystem(), job_.run.Checkpoints()).size());
    if (before) summary.eval = before->eval;
    summary.time = SystemClock().Now();
    return summary;
  }

  void Finish(const monitor::Summary& summary) {
    try {
      monitor::WriteSummary(job_.run, summary);
    } catch (const Error& error) {
      LogWarning(std::string("summary.json could not be written: ") + error.what());
    }
    reporter_.Closing(summary);
  }

  const Job& job_;
  StopSignals& signals_;
  const std::string mpirun_;
  const std::string worker_;
  const int64_t threads_;
  const double begin_ = SystemClock().Monotonic();
  LeaseKeeper lease_;
  uint64_t committed_;
  RestartPolicy policy_;
  Reporter reporter_;
  Ledger ledger_;
  int attempt_ = 0;
  bool said_stopping_ = false;
  JobView last_;
  double training_since_ = 0;
  double train_seconds_ = 0;
  uint64_t last_step_ = 0;
  double last_step_time_ = 0;
  size_t bad_steps_taken_ = 0;      // of this attempt
  size_t damaged_steps_taken_ = 0;  // of this attempt
  double bad_steps_read_ = 0;
  uint64_t steps_trained_ = 0;
  double steps_seconds_ = 0;

 public:
  bool remove_run_ = false;
  std::string last_line_;
};

}  // namespace

int Supervise(const Job& job, RunLock lock) {
  StopSignals signals;
  int code = kExitGaveUp;
  std::string last_line;
  bool remove = false;
  try {
    Supervisor supervisor(job, signals);
    code = supervisor.Run();
    last_line = supervisor.last_line_;
    remove = supervisor.remove_run_;
  } catch (const Error& error) {
    last_line = error.what();
    code = error.kind() == ErrorKind::kEnvironment ? kExitGaveUp : error.exit_code();
  }
  if (remove) PosixFileSystem().RemoveTree(job.run.root);
  lock = RunLock();
  // Exit codes alone requeue nothing. SIGUSR1 is the warning before a time limit or a preemption;
  // SIGTERM may be an scancel, which must not bring the job back.
  if (code == kExitStopped && job.allocation && signals.signal() == SIGUSR1) {
    const std::string refused = slurm::Requeue(job.allocation->job_id);
    if (refused.empty()) {
      LogInfo("contrail: requeued job=" + job.allocation->job_id);
    } else {
      LogWarning("the job was not requeued: " + refused);
    }
  }
  if (!last_line.empty()) LogError(last_line);
  return code;
}

}  // namespace contrail::launcher
