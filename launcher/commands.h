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

// `contrail data audit RUN_DIR [--json]`: here and not among the data commands, because it reads a
// run's records and checkpoints (data_audit.h). Exit 2 where something is not proven.
int RunDataAudit(const ParsedArgs& args);

// Becomes contrail-worker (beside this program) with the same arguments. Returns only by throwing
// UserError E-WORKER-MISSING.
[[noreturn]] void HandOver(const std::vector<std::string>& args);

// Path of contrail-worker beside this program. Throws UserError E-WORKER-MISSING.
std::string WorkerProgram();

// Path of this program.
std::string SelfProgram();

// On the other nodes of a job mpirun starts `contrail node-agent orted ...` instead of its daemon
// alone (not for people, so not in the command table): blocks SIGTERM, which preemption sends to
// every process of a node and which would end the daemon and its ranks before they have saved,
// and becomes the daemon. Ranks start with SIGTERM unblocked again.
inline constexpr const char* kNodeAgentWord = "node-agent";
[[noreturn]] void RunNodeAgent(const std::vector<std::string>& words);

}  // namespace contrail::launcher
