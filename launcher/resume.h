#pragma once
// Going on with a run.

#include <optional>

#include "configs/cli.h"
#include "monitoring/run_dir.h"
#include "slurm/env.h"

namespace contrail::launcher {

// `args` are of `resume`, or of `train` in a requeued job (--ranks, --set, --from are looked at).
// Throws UserError E-RUN-MISSING, E-RUN-BUSY, E-CKPT-MISSING (--from).
int ResumeRun(const monitor::RunDir& run, const ParsedArgs& args);

// True where the run was last held by this very job and Slurm started the job again. A lease that
// cannot be read is waited for, then thrown.
bool RequeuedRun(const monitor::RunDir& run, const std::optional<slurm::Allocation>& allocation);

}  // namespace contrail::launcher
