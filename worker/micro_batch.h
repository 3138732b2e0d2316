#pragma once
// How many samples a rank encodes at once.

#include <cstdint>

#include "model/clip.h"

namespace contrail::worker {

// The largest divisor of `local_batch` whose activations fit into `budget_bytes`; at least 1.
// Plans the model's arena to measure it.
int64_t FitMicroBatch(model::ClipModel& model, int64_t local_batch, uint64_t budget_bytes);

// Half of this machine's memory, shared by the ranks on it. Its total, not what happens to be free:
// the choice must be the same after every restart, or losses would differ in rounding.
uint64_t ActivationBudget(int ranks_here);

}  // namespace contrail::worker
