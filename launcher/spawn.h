#pragma once
// From a plan of an attempt to the mpirun command that starts it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/config.h"
#include "launcher/child.h"
#include "slurm/env.h"

namespace contrail::launcher {

struct AttemptPlan {
  const Config* config = nullptr;
  std::optional<slurm::Allocation> allocation;
  std::string mpirun;  // path
  std::string worker;  // path of contrail-worker
  std::string run_dir;
  int attempt = 1;
  std::string owner;    // of the launcher: who may write into the run
  std::string consent;  // --set data.train of this command line agrees to other shards; else empty
  int ranks = 1;
  int64_t threads = 1;  // of each rank
  int64_t cores = 1;    // of this node
  std::string board;    // progress board, a path in /dev/shm
  std::string scratch;  // existing folder for Open MPI's files of this attempt, on one node
  std::optional<uint64_t> from;  // step asked for with --from, until something stands on it

  // True where every rank runs on this node.
  bool Local() const { return !allocation || allocation->nodes.size() <= 1; }
};

// Open MPI's mpirun around `contrail-worker train`. On one node ranks may outnumber cores: they
// then yield while waiting. Ranks are bound to no cores unless launcher.mpirun_args say how: their
// threads share what the kernel gives them. mpirun and its daemons start with SIGTERM blocked,
// because on SIGTERM they would kill the ranks a second later, before these could save; SIGUSR1 is
// passed on to them.
Child::Options MpirunCommand(const AttemptPlan& plan);

}  // namespace contrail::launcher
