#pragma once
// Sample order as a pure function: order(seed, epoch, position) -> sample, of nothing else.
//
// Two levels keep reads local: the shards of an epoch are permuted, then samples are permuted
// inside consecutive windows of that concatenation. Both permutations are Feistel networks keyed
// by (seed, epoch), so any position is found without walking the ones before it.

#include <cstdint>
#include <memory>
#include <vector>

namespace contrail::data {

class SampleOrder {
 public:
  // `shard_sizes`: samples in each shard, in shard order; `window`: samples shuffled together.
  SampleOrder(uint64_t seed, std::vector<uint64_t> shard_sizes, uint64_t window);

  uint64_t size() const { return size_; }  // samples in an epoch

  // The sample (index into the concatenation of the shards in file order) at `position` of
  // `epoch`; position in [0, size()). A bijection for every (seed, epoch).
  uint64_t At(uint64_t epoch, uint64_t position) const;

 private:
  struct EpochPlan;  // the epoch's shards in their shuffled order
  struct PlanCache;  // the last few plans; shared by copies, thread safe
  std::shared_ptr<const EpochPlan> Plan(uint64_t epoch) const;

  uint64_t seed_;
  uint64_t window_;
  uint64_t size_ = 0;
  std::vector<uint64_t> shard_start_;  // prefix sums, file order
  std::shared_ptr<PlanCache> cache_;
};

// Global batch k of a run: whole batches only, the epoch's tail shorter than a batch is dropped
// (it comes in other epochs).
struct BatchPosition {
  uint64_t epoch;
  uint64_t first;  // position of the batch's first sample
};
BatchPosition PositionOfStep(uint64_t step, uint64_t samples_per_epoch, uint64_t global_batch_size);
uint64_t StepsPerEpoch(uint64_t samples_per_epoch, uint64_t global_batch_size);

}  // namespace contrail::data
