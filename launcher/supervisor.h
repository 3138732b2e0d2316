#pragma once
// The loop of a run: attempt after attempt until it is done, stopped, or given up.

#include <cstdint>
#include <optional>
#include <string>

#include "common/error.h"
#include "launcher/attempt.h"
#include "launcher/closing.h"
#include "launcher/evaluation.h"
#include "launcher/ledger.h"
#include "launcher/policy.h"
#include "launcher/reporter.h"
#include "launcher/run_record.h"
#include "launcher/shared_memory.h"
#include "launcher/stderr_thread.h"
#include "launcher/supervise.h"
#include "launcher/tally.h"

namespace contrail::launcher {

// How this launcher ends.
struct Outcome {
  int exit_code = kExitGaveUp;
  std::string last_line;    // on stderr, empty for none
  bool remove_run = false;  // it never began
  bool curable = false;     // another start may go on
  bool committed = false;   // a checkpoint was committed since the start
};

class Supervisor {
 public:
  // All outlive it. `first_attempt` is claimed.
  Supervisor(const Job& job, LeaseKeeper& lease, int first_attempt, StopSignals& signals,
             StderrThread& stderr_thread);

  // Throws UserError E-RUN-BUSY where another launcher took the run over: nothing is written then.
  Outcome Run();
  // Whether a checkpoint was committed since the start, also where Run threw.
  bool committed() const { return committed_any_; }

 private:
  Outcome Attempts();
  Error RunLost();
  AttemptEnd RunAttempt();
  AttemptEnd StartAndWatch();
  bool ClaimNext();
  AttemptPlan Plan() const;
  void See(const JobView& view);
  void TakeNotes(const std::vector<monitor::Incident>& notes);
  void Learn(const AttemptEnd& end);
  bool Refused(const AttemptEnd& end, const Progress& progress) const;
  uint64_t Committed() const { return committed_.value_or(0); }
  int Ranks() const { return static_cast<int>(job_.config.launcher.ranks); }

  Outcome Done();
  Outcome Evaluate();
  Outcome Stopped();
  Outcome FailedWhileStopping(const AttemptEnd& end);
  Outcome Refuse(const AttemptEnd& end);
  Outcome GiveUp(const AttemptEnd& end, const Decision& decision);
  monitor::Summary Summary(const std::string& state);

  const Job& job_;
  LeaseKeeper& lease_;
  StopSignals& signals_;
  StderrThread& stderr_;
  const std::string mpirun_;
  const std::string worker_;
  const int64_t threads_;
  const SharedMemory shared_memory_;
  const int first_attempt_;
  int attempt_;
  int started_ = 0;  // attempts, also those that could not be
  RunRecord record_;
  RestartPolicy policy_;
  Reporter reporter_;
  Closing closing_;
  Ledger ledger_;
  Tally tally_;
  LearnedLimits learned_;
  // The committed step that a restart goes on from, 0 = none yet; nothing where that could not be
  // told.
  std::optional<uint64_t> committed_;
  std::optional<uint64_t> from_;       // Job::from, until something was committed on top of it
  bool committed_in_attempt_ = false;  // by the last attempt
  bool committed_any_ = false;         // since the start
  bool trained_ = false;               // the run, at any time
  bool said_stopping_ = false;
  bool run_lost_ = false;
};

}  // namespace contrail::launcher
