#pragma once
// What this node must have for its ranks, looked at before anything is started or written: without
// it MPI hangs, or ends without a word that helps.

#include <cstdint>
#include <optional>

#include "configs/config.h"
#include "slurm/env.h"

namespace contrail::launcher {

struct HostRoom {
  std::optional<uint64_t> shared_memory = {};  // bytes free in /dev/shm; not known
  uint64_t open_files = UINT64_MAX;            // that a process may have
};

HostRoom ReadHostRoom();

// Throws UserError E-SHM, E-OPEN-FILES, with what so many ranks of one node need.
void CheckHostRoom(const HostRoom& room, int ranks);

// As many of the job's ranks as a node has.
int RanksOfANode(const Config& config, const std::optional<slurm::Allocation>& allocation);

}  // namespace contrail::launcher
