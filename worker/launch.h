#pragma once
// What this rank has been told to do: command line and config, and the run directory.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "configs/cli.h"
#include "configs/config.h"
#include "monitoring/owner/take_over.h"
#include "monitoring/run_dir.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

struct Launch {
  Config config;
  monitor::RunDir run;
  int attempt = 1;
  // The token of whoever started this job (docs/run-directory.md): what ranks write bears it, and
  // nothing is committed under another one's lease. A launcher's (--owner), or rank 0's own.
  std::string owner;
  // Rank 0's hold on the run in a job without a launcher; null in every other rank, and empty until
  // a fresh run has been made.
  std::shared_ptr<monitor::RunClaim> claim;
  bool fresh = false;            // the run directory is to be made (bare form)
  std::optional<uint64_t> from;  // --from: resume from exactly this step
  std::string consent;           // of this command line to other shards, or empty
  int threads = 1;               // no more than this rank has cores
  int threads_asked = 1;         // what it was to have
};

// Collective. Reads the config and decides on run directory and attempt number:
//
//   CONFIG.toml [--run DIR]             a fresh run; E-RUN-EXISTS where its directory exists
//   --run RUN                           its config.toml; the run is taken as a launcher would:
//                                       E-RUN-BUSY where somebody has it
//   --run RUN --attempt A --owner T     the same for a launcher that has the run
//
// Throws AgreedError, also for arguments that contradict each other (E-CLI-ARGS).
Launch ResolveLaunch(Comm& comm, const ParsedArgs& args);

// Ranks on this rank's node.
int RanksHere(const Comm& comm);

// Collective. Makes the run directory of a fresh run, with its resolved config.toml, and takes it.
// Makes this attempt's directory.
void MakeRunDir(Comm& comm, const Launch& launch);

}  // namespace contrail::worker
