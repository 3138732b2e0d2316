#pragma once
// `contrail-worker train`: from the command line to a running Trainer, and out again.

#include <string>
#include <vector>

namespace contrail::worker {

// Runs one rank of a training job. `args` begins with "train". Two forms:
//
//   train CONFIG.toml [--run DIR] [--set k=v]      unsupervised; makes the run directory
//   train --run RUN [...]                          goes on with a run (supervised by `contrail`
//                                                  with --attempt, --progress, --ranks, --threads)
//
// Returns the process's exit code; every way out leaves an end record once the run directory is
// known. Mistakes found at the start are printed by the first failing rank alone.
int TrainCommand(const std::vector<std::string>& args);

}  // namespace contrail::worker
