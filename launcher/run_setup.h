#pragma once
// Checks before anything is written.

#include <string>

#include "configs/cli.h"
#include "configs/config.h"

namespace contrail::launcher {

// The value of --ranks into the config, whatever it is (SettleRanks judges it).
void ApplyRanksOption(const ParsedArgs& args, Config& config);

// Every file the config names is there. Throws UserError E-DATA-MISSING (training shards,
// evaluation data), E-CKPT-MISSING (model.init).
void CheckInputs(const Config& config);

// mpirun's path. Throws UserError E-MPIRUN-MISSING.
std::string FindMpirun(const Config& config);

// "runs/a" -> an absolute path without "." and ".."
std::string AbsolutePath(const std::string& path);

}  // namespace contrail::launcher
