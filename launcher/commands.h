#pragma once
// The commands of `contrail` that live in this room. Each returns the program's exit code and
// throws Error; main.cc prints it.

#include <string>
#include <vector>

#include "configs/cli.h"

namespace contrail::launcher {

// `contrail train CONFIG.toml [--ranks N] [--set k=v] [--run DIR]`: checks, makes the run
// directory, supervises until the run is done.
int RunTrain(const ParsedArgs& args);

// `contrail resume RUN_DIR [--ranks N] [--from STEP] [--set k=v]`
int RunResume(const ParsedArgs& args);

// Becomes contrail-worker (beside this program) with the same arguments. Returns only by throwing
// UserError E-WORKER-MISSING.
[[noreturn]] void HandOver(const std::vector<std::string>& args);

// Path of contrail-worker beside this program. Throws UserError E-WORKER-MISSING.
std::string WorkerProgram();

}  // namespace contrail::launcher
