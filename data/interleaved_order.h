#pragma once
// data.order = "interleaved": every batch draws from 256 shards at once, or from all of fewer.
//
// The shards of an epoch are permuted and dealt into 256 lanes, each to the lane that is shortest
// so far; a lane runs through its shards one after another, and through each in an order of that
// epoch's own. A window takes from every lane the same share of it, and its samples are permuted.
// So a window touches one shard of each lane, or a few more where it is longer than a shard, and
// lanes come to their next shard at different times. All permutations are Feistel networks keyed
// by (seed, epoch); what is remembered is the epoch's shards and the last few windows' places.

#include <cstdint>
#include <memory>
#include <vector>

#include "data/order.h"

namespace contrail::data {

// `seed` is the order's own (kOrderPurpose mixed in).
std::shared_ptr<const SampleOrder::Function> InterleavedOrder(
    uint64_t seed, const std::vector<uint64_t>& shard_sizes, uint64_t window);

}  // namespace contrail::data
