#pragma once
// What this rank has been told to do: command line and config, and the run directory.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/cli.h"
#include "configs/config.h"
#include "monitoring/run_dir.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

struct Launch {
  Config config;
  monitor::RunDir run;
  int attempt = 1;
  // The token of whoever started this job (docs/run-directory.md): what ranks write bears it, and
  // nothing is committed under another one's lease. A launcher's (--owner); a job without a
  // launcher draws its own.
  std::string owner;
  bool supervised = false;       // by the launcher whose token that is
  bool fresh = false;            // the run directory is to be made (bare form)
  std::optional<uint64_t> from;  // --from: resume from exactly this step
  std::string consent;           // of this command line to other shards, or empty
  int threads = 1;               // no more than this rank has cores
  int threads_asked = 1;         // what it was to have
};

// Collective. Reads the config and decides on run directory and attempt number:
//
//   CONFIG.toml [--run DIR]     a fresh run; E-RUN-EXISTS where its directory exists
//   --run RUN                   its config.toml; attempt = --attempt, else one more than any before
//
// Throws AgreedError, also for arguments that contradict each other (E-CLI-ARGS).
Launch ResolveLaunch(Comm& comm, const ParsedArgs& args);

// Ranks on this rank's node.
int RanksHere(const Comm& comm);

// Collective. Makes the run directory of a fresh run, with its resolved config.toml, and this
// attempt's directory. Nothing is written before.
void MakeRunDir(Comm& comm, const Launch& launch);

}  // namespace contrail::worker
