#pragma once
// After the last step: the evaluation the config asks for.

#include <cstdint>
#include <string>

#include "configs/config.h"
#include "launcher/stop_signals.h"
#include "monitoring/run_dir.h"

namespace contrail::launcher {

// Runs `contrail-worker eval zero-shot` on the newest checkpoint, stores its JSON as
// RUN/eval/zero_shot_step_N.json and returns it as {"zero_shot": ...}; "{}" where the config names
// no data set or a stop was asked for meanwhile. Throws EnvironmentError E-EVAL-FAILED (its own
// messages are on stderr by then).
std::string EvaluateAtTheEnd(const Config& config, const monitor::RunDir& run, uint64_t step,
                             int64_t threads, StopSignals& signals);

}  // namespace contrail::launcher
