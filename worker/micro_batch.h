#pragma once
// How many samples a rank encodes at once. Batch norm takes its statistics over groups of
// consecutive samples of the global batch; a rank's share and its micro-batches are whole groups,
// so that the function trained does not depend on the number of ranks.

#include <cstdint>

#include "configs/config.h"
#include "model/clip.h"

namespace contrail::worker {

// Samples that cannot be split: a group of batch norm (at most the whole batch); 1 for ViTs.
int64_t SamplesTogether(const model::ModelSpec& spec, int64_t global_batch);

// Throws UserError E-BN-GROUPS where a rank's share of the batch is not whole groups, and
// E-MICRO-BATCH where train.micro_batch_size does not cut the share into whole groups; both name
// the nearest that works.
void CheckMicroBatch(const Config& config, const model::ModelSpec& spec, int ranks);

// The largest divisor of `local_batch` that is a multiple of `together` and whose activations fit
// into `budget_bytes`; at least `together`. Plans the model's arena to measure it.
int64_t FitMicroBatch(model::ClipModel& model, int64_t local_batch, uint64_t budget_bytes,
                      int64_t together = 1, model::Recompute recompute = {});

// train.recompute.
model::Recompute RecomputeOf(const Config& config);

// Half of this machine's memory, shared by the ranks on it. Its total, not what happens to be free:
// the choice must be the same after every restart, or losses would differ in rounding.
uint64_t ActivationBudget(int ranks_here);

}  // namespace contrail::worker
