#pragma once
// Checks before anything is written, and the making of a run directory.

#include <string>

#include "common/error.h"
#include "common/file_system.h"
#include "configs/cli.h"
#include "configs/config.h"
#include "launcher/take_over.h"
#include "monitoring/run_dir.h"

namespace contrail::launcher {

// The value of --ranks into the config, whatever it is (SettleRanks judges it).
void ApplyRanksOption(const ParsedArgs& args, Config& config);

// Every file the config names is there. Throws UserError E-DATA-MISSING (training shards,
// evaluation data), E-CKPT-MISSING (model.init).
void CheckInputs(const Config& config);

// mpirun's path. Throws UserError E-MPIRUN-MISSING.
std::string FindMpirun(const Config& config);

// Makes the run directory under another name, with its config.toml, the lease `self` and attempt 1
// claimed, locks it and renames it: two launchers never share one, and a half-made one is never
// seen. Throws UserError E-RUN-EXISTS.
RunClaim CreateRun(FileSystem& fs, const monitor::RunDir& run, const Config& config,
                   monitor::Lease self);

// E-RUN-EXISTS with what to do instead.
Error RunExists(const monitor::RunDir& run);

// "runs/a" -> an absolute path without "." and ".."
std::string AbsolutePath(const std::string& path);

}  // namespace contrail::launcher
