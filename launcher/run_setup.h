#pragma once
// Checks before anything is written, and the making of a run directory.

#include <optional>
#include <string>

#include "common/error.h"
#include "common/file_system.h"
#include "configs/cli.h"
#include "configs/config.h"
#include "launcher/lease.h"
#include "monitoring/run_dir.h"
#include "slurm/env.h"

namespace contrail::launcher {

// The value of --ranks into the config, whatever it is (SettleRanks judges it).
void ApplyRanksOption(const ParsedArgs& args, Config& config);

// Every file the config names is there. Throws UserError E-DATA-MISSING (training shards,
// evaluation data), E-CKPT-MISSING (model.init).
void CheckInputs(const Config& config);

// mpirun's path. Throws UserError E-MPIRUN-MISSING.
std::string FindMpirun(const Config& config);

// Makes the run directory with its config.toml under another name, locks it and renames it: two
// launchers never share one, and a half-made one is never seen. Throws UserError E-RUN-EXISTS.
RunLock CreateRun(FileSystem& fs, const monitor::RunDir& run, const Config& config,
                  const monitor::Lease& lease);

// E-RUN-EXISTS with what to do instead.
Error RunExists(const monitor::RunDir& run);

// The lease of this process.
monitor::Lease OwnLease(int attempt, const std::optional<slurm::Allocation>& allocation);

// The highest attempt that left traces in the run; 0 = none.
int LastAttempt(const FileSystem& fs, const monitor::RunDir& run);

// "runs/a" -> an absolute path without "." and ".."
std::string AbsolutePath(const std::string& path);

}  // namespace contrail::launcher
