#pragma once
// resume --from STEP: the run goes back, and everything newer is set aside.

#include <cstdint>
#include <functional>

#include "checkpoint/load.h"
#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::launcher {

// That step of the run. Throws UserError E-CKPT-MISSING where it is not committed, E-IO where that
// step, or which there are, cannot be read.
ckpt::StepEntry FindStep(const FileSystem& fs, const monitor::RunDir& run, uint64_t step);

// The run goes on from `step`. Newer steps, and older copies that come to light in their places,
// are moved to superseded/attempt_A of `attempt`, or the next restart would start from them.
// Returns what brings all of it back; `fs` must outlive it. Throws as FindStep does.
std::function<void()> GoBackTo(FileSystem& fs, const monitor::RunDir& run, uint64_t step,
                               int attempt);

}  // namespace contrail::launcher
