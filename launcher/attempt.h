#pragma once
// One attempt: from starting mpirun to the moment when none of its processes is left. The thread
// that runs it watches, and touches no file system.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "launcher/arrival.h"
#include "launcher/blame.h"
#include "launcher/end_records.h"
#include "launcher/hang.h"
#include "launcher/log_pump.h"
#include "launcher/memory_watch.h"
#include "launcher/policy.h"
#include "launcher/spawn.h"
#include "launcher/stop_signals.h"
#include "launcher/watch.h"
#include "monitoring/run_dir.h"

namespace contrail::launcher {

struct AttemptEnd {
  enum class Kind { kDone, kStopped, kFailed };
  Kind kind = Kind::kFailed;
  Failure failure;  // with kFailed
  JobView last;     // the last look
  // CLOCK_MONOTONIC
  double last_sign = 0;  // of the culprit; for a death the look before it was noticed
  double noticed = 0;
  double gone = 0;         // every process of the attempt has ended
  bool lingering = false;  // ... but for some that even SIGKILL could not end in time
};

class Attempt {
 public:
  // `learned` outlives the attempt: what the run's ranks have been seen to need. `observe` is
  // called with every look (about ten a second). The attempt's directory is there: it was claimed.
  // Throws EnvironmentError where mpirun cannot be started.
  Attempt(const AttemptPlan& plan, StopSignals& signals, LearnedLimits& learned,
          std::function<void(const JobView&)> observe);
  ~Attempt();

  AttemptEnd Run();
  // The last output lines of the ranks and mpirun.
  std::deque<std::string> LogTail() const { return pump_->Tail(); }

 private:
  void Wait();
  void PassOnStop();
  std::optional<AttemptEnd> Check();
  void NoteEnds();
  void NoteRecords();
  Evidence Gather();
  std::optional<AttemptEnd> CheckArrival();
  std::optional<AttemptEnd> CheckProgress();
  AttemptEnd Fail(Failure failure, double last_sign) const;
  std::string NamedCause(int rank) const;
  bool StopEverything();

  const AttemptPlan plan_;
  const monitor::RunDir run_;
  const std::string host_;
  const MemoryWatch memory_;
  StopSignals& signals_;
  const std::function<void(const JobView&)> observe_;
  Watch watch_;
  HangDetector hangs_;
  ArrivalWatch arrivals_;
  double starters_seen_ = -1;  // of hangs_.awake()
  std::unique_ptr<Child> mpirun_;
  std::unique_ptr<LogPump> pump_;
  std::unique_ptr<EndRecordReader> records_;
  std::map<int, RankEnd> ends_;  // by rank
  double previous_look_;
  double before_first_end_ = 0;  // the look before a rank was found to have ended badly
  double mpirun_ended_ = 0;
  bool passed_on_ = false;  // SIGUSR1 went to mpirun
};

}  // namespace contrail::launcher
