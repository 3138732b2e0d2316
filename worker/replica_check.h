#pragma once
// Silent corruption: after a step's all-gather every rank holds the same working weights, so a hash
// of them must be the same everywhere; the rank whose hash differs has bad memory, a bad processor
// or got bad bytes. It finds what differs between ranks at that moment. A wrong gradient, or a
// flipped bit in the slice that a rank owns, reaches everyone alike and is not found here.

#include <cstdint>
#include <vector>

#include "worker/comm/comm.h"
#include "worker/flat.h"

namespace contrail::worker {

// Of all working weights, padding included; at memory bandwidth, on all threads. The same for the
// same bytes whatever the number of threads.
uint32_t HashOfWeights(const FlatParams& flat);

// Ranks that do not hold what more than half of the ranks hold; all ranks where no hash has such a
// majority; none where all are equal.
std::vector<int> OddRanks(const std::vector<uint32_t>& hash_of_rank);

// Collective where hashes differ. Throws AgreedError E-REPLICA naming the odd ranks and their
// hosts. `step` is the step under way, counted from 1.
void CheckReplicas(Comm& comm, const std::vector<uint32_t>& hash_of_rank, uint64_t step);

}  // namespace contrail::worker
