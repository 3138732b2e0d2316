#pragma once
// After the last step: the evaluation the config asks for, watched.

#include <cstdint>
#include <string>
#include <vector>

#include "configs/config.h"
#include "launcher/stop_signals.h"
#include "monitoring/run_dir.h"

namespace contrail::launcher {

struct Evaluation {
  bool stopped = false;     // a stop was asked for before the result came
  std::string json = "{}";  // {"zero_shot": ...}; "{}" where the config names no data set
};

// Runs `contrail-worker eval zero-shot` on the newest checkpoint and stores its JSON as
// RUN/eval/zero_shot_step_N.json. One that makes no progress for launcher.start_seconds is killed
// and started once more. Throws EnvironmentError E-EVAL-FAILED (its own messages are on stderr by
// then).
Evaluation EvaluateAtTheEnd(const Config& config, const monitor::RunDir& run, uint64_t step,
                            int64_t threads, StopSignals& signals);

// One try of a program that prints its result on stdout and a byte on descriptor kProgressFd with
// every bit of progress.
struct WatchedRun {
  enum class End { kExited, kSilent, kStopped };
  End end = End::kExited;
  int status = 0;    // of wait(2), with kExited
  std::string said;  // its stdout
};
inline constexpr int kProgressFd = 3;
// Ends it where it makes no progress for `limit` seconds or a stop is asked for; a result that is
// there by then counts.
WatchedRun RunWatched(const std::vector<std::string>& argv, double limit, StopSignals& signals);

}  // namespace contrail::launcher
