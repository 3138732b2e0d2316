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
  std::string text;         // the result, a JSON object
  std::string json = "{}";  // {"zero_shot": result}
};

// Runs `contrail-worker eval zero-shot` on the newest checkpoint. One that makes no progress for
// launcher.start_seconds is killed and started once more. Touches no file system: it watches.
// Throws EnvironmentError E-EVAL-FAILED (its own messages are on stderr by then).
Evaluation EvaluateAtTheEnd(const Config& config, const monitor::RunDir& run, int64_t threads,
                            StopSignals& signals);

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
// there by then counts. Until the first byte what the kernel sees it read is progress too: shared
// libraries may come from a slow file system.
WatchedRun RunWatched(const std::vector<std::string>& argv, double limit, StopSignals& signals);

}  // namespace contrail::launcher
