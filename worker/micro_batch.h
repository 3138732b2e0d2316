#pragma once
// How many samples a rank encodes at once: the global batch is a setting, this follows from it,
// from the number of ranks and from the memory there is. Batch norm takes its statistics over
// groups of consecutive samples of the global batch; a rank's share and its micro-batches are whole
// groups, so that the function trained does not depend on the number of ranks.

#include <cstdint>
#include <string>

#include "configs/config.h"
#include "model/clip.h"
#include "worker/flat.h"

namespace contrail::worker {

// Samples that cannot be split: a group of batch norm (at most the whole batch); 1 for ViTs.
int64_t SamplesTogether(const model::ModelSpec& spec, int64_t global_batch);

// Throws UserError E-BN-GROUPS where a rank's share of the batch is not whole groups, and
// E-MICRO-BATCH where train.micro_batch_size does not cut the share into whole groups; both name
// the nearest that works.
void CheckMicroBatch(const Config& config, const model::ModelSpec& spec, int ranks);

// train.recompute.
model::Recompute RecomputeOf(const Config& config);

// What a rank needs besides activations, in bytes.
struct FixedMemory {
  uint64_t parameters = 0;  // working weights, gradients, own masters and moments (FlatParams)
  uint64_t snapshot = 0;    // a checkpoint being written: own weights and moments in fp32
  uint64_t loader = 0;      // batches kept ready, being made and being used
  uint64_t features = 0;    // own and gathered features, their gradients, tiles of the loss
  uint64_t program = 0;     // libraries, communication, scratch of threads

  uint64_t total() const { return parameters + snapshot + loader + features + program; }
};
FixedMemory MeasureFixed(const Config& config, const model::ModelSpec& spec, const FlatParams& flat,
                         int64_t share, int batches_ahead);

// What a rank may use: nine tenths of this machine's memory, or of the control group's limit where
// that is lower, shared by the ranks here. Its total, not what happens to be free: the choice must
// be the same after every restart, or losses would differ in rounding.
uint64_t MemoryOfRank(int ranks_here);

struct MicroBatch {
  int64_t samples = 0;
  uint64_t activations = 0;  // bytes of the arena
  bool fits = true;          // false: even the smallest does not
};
// The largest divisor of `share` that is a multiple of `together` and whose activations fit into
// `budget` bytes; at least `together`. Plans the model's arena to measure it.
MicroBatch FitMicroBatch(model::ClipModel& model, int64_t share, uint64_t budget,
                         int64_t together = 1, model::Recompute recompute = {});

// train.micro_batch_size where it is set, else `kept` (what the run had before, 0 = nothing) where
// that fits into a rank's memory, else the largest that does. Says what was chosen and why in
// `message`; a warning where it is not `fits`.
MicroBatch ChooseMicroBatch(const Config& config, model::ClipModel& model, const FixedMemory& fixed,
                            int64_t share, uint64_t memory, int64_t kept, std::string* message);

}  // namespace contrail::worker
