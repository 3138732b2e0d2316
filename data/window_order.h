#pragma once
// data.order = "windows": the order of runs that older versions began.
//
// The shards of an epoch are permuted, then the samples inside consecutive windows of that
// concatenation. A window holds what its few shards hold, so do its batches.

#include <cstdint>
#include <memory>
#include <vector>

#include "data/order.h"

namespace contrail::data {

// `seed` is the order's own (kOrderPurpose mixed in).
std::shared_ptr<const SampleOrder::Function> WindowOrder(uint64_t seed,
                                                         const std::vector<uint64_t>& shard_sizes,
                                                         uint64_t window);

}  // namespace contrail::data
