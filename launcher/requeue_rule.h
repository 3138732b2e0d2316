#pragma once
// What becomes of the Slurm job when its launcher ends. Pure.

namespace contrail::launcher {

struct JobEnd {
  bool in_allocation = false;
  int exit_code = 0;
  int signal = 0;          // the first that asked to stop
  bool committed = false;  // a checkpoint was committed since this launcher started
  bool curable = false;    // it gave up for its surroundings
};

enum class Requeue {
  kNo,
  kYes,
  kNoProgress,  // it was asked for, and would only be repeated
};

// Exit codes alone requeue nothing. SIGUSR1 is the warning before a time limit or a preemption;
// SIGTERM may be an scancel, which must not bring the job back. A start that committed nothing is
// not repeated: it would do the same again, for ever.
Requeue RequeueAfter(const JobEnd& end);

}  // namespace contrail::launcher
