#include "launcher/supervise.h"

#include <optional>

#include "common/error.h"
#include "common/log.h"
#include "launcher/process.h"
#include "launcher/requeue_rule.h"
#include "launcher/supervisor.h"
#include "slurm/requeue.h"

namespace contrail::launcher {
namespace {

Outcome RunToItsEnd(const Job& job, RunClaim& claim, StopSignals& signals,
                    StderrThread& stderr_thread) {
  Outcome outcome;
  std::optional<Supervisor> supervisor;
  try {
    supervisor.emplace(job, *claim.lease, claim.attempt, signals, stderr_thread);
    outcome = supervisor->Run();
  } catch (const Error& error) {
    outcome = {
        .exit_code = error.kind() == ErrorKind::kEnvironment ? kExitGaveUp : error.exit_code(),
        .last_line = error.what()};
  } catch (const std::exception& error) {
    outcome = {.exit_code = kExitBug, .last_line = std::string("E-BUG: ") + error.what()};
  }
  outcome.committed = supervisor && supervisor->committed();
  return outcome;
}

// Returns the exit code, which says so where a requeue that was asked for is refused.
int EndJob(const Job& job, const Outcome& outcome, int signal) {
  switch (RequeueAfter({.in_allocation = job.allocation.has_value(),
                        .exit_code = outcome.exit_code,
                        .signal = signal,
                        .committed = outcome.committed,
                        .curable = outcome.curable})) {
    case Requeue::kNo:
      return outcome.exit_code;
    case Requeue::kNoProgress:
      LogError(EnvironmentError("E-NO-PROGRESS", "job " + job.allocation->job_id,
                                "no checkpoint was committed since it started, so a requeue would "
                                "only repeat it",
                                "give the job more time, or let it save more often "
                                "(checkpoint.every_minutes), and submit it again")
                   .what());
      return kExitGaveUp;
    case Requeue::kYes:
      break;
  }
  const std::string refused = slurm::Requeue(job.allocation->job_id);
  if (refused.empty()) {
    LogInfo("contrail: requeued job=" + job.allocation->job_id);
  } else {
    LogWarning("the job was not requeued: " + refused);
  }
  return outcome.exit_code;
}

}  // namespace

int Supervise(const Job& job, RunClaim claim) {
  StopSignals signals;
  StderrThread stderr_thread;
  if (!KernelHasPidFds()) {
    LogWarning(
        "W-KERNEL: this kernel has no pidfd_open (Linux 5.3): a rank's end is noticed a little "
        "later, by its number and start time");
  }
  const Outcome outcome = RunToItsEnd(job, claim, signals, stderr_thread);
  claim.lease.reset();
  if (outcome.remove_run) PosixFileSystem().RemoveTree(job.run.root);
  claim.lock = RunLock();
  const int code = EndJob(job, outcome, signals.signal());
  if (!outcome.last_line.empty()) LogError(outcome.last_line);
  return code;
}

}  // namespace contrail::launcher
