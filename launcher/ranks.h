#pragma once
// How many ranks, and how many threads each.

#include <cstdint>
#include <optional>

#include "configs/config.h"
#include "slurm/env.h"

namespace contrail::launcher {

// Ranks nearest to `asked` that divide the global batch (the smaller of two equally near).
int64_t NearestRanks(int64_t asked, int64_t global_batch_size);

// Settles config.launcher.ranks: an explicit value as it is, otherwise one rank a task of the
// allocation. Throws UserError E-RANKS, naming the nearest number that works, unless it is between
// 1 and the global batch size and divides it; and where the allocation has fewer tasks.
void SettleRanks(Config& config, const std::optional<slurm::Allocation>& allocation);

// Cores this process may use, as the kernel says.
int64_t UsableCores();

// launcher.threads_per_rank, or an equal share of this node's cores, at least 1: of `usable` ones,
// and of no more than the allocation has here (not every site confines a job to its cores).
int64_t ThreadsPerRank(const Config& config, const std::optional<slurm::Allocation>& allocation,
                       int64_t usable = UsableCores());

}  // namespace contrail::launcher
