// The only place of the worker that reads its environment: how it was started.

#include <cstdlib>

#include "worker/comm/comm.h"

namespace contrail::worker {

bool StartedByMpi() {
  const auto has = [](const char* name) { return std::getenv(name) != nullptr; };
  if (has("OMPI_COMM_WORLD_SIZE") || has("PMIX_RANK")) return true;
  // A batch script's own step has SLURM_PROCID too; only srun with an MPI plugin adds PMI.
  return has("SLURM_PROCID") && (has("PMI_RANK") || has("PMI_FD"));
}

}  // namespace contrail::worker
