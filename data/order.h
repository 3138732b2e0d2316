#pragma once
// Sample order as a pure function: order(seed, epoch, position) -> sample, of nothing else.
//
// Any position is found without walking the ones before it, in memory that does not grow with the
// number of samples. There are two such functions, and a run keeps the one it began with
// (`data.order`): data/interleaved_order.h, and data/window_order.h of runs that older versions
// began.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "configs/config.h"

namespace contrail::data {

enum class OrderKind { kInterleaved, kWindows };

// "interleaved" | "windows", the values of data.order.
OrderKind ParseOrder(std::string_view name);

// data.shuffle_window; where that is 0, 16 global batches, but at least 65,536 samples.
uint64_t ShuffleWindow(const Config& config);

// Samples are drawn from so many shards at once, where there are as many.
inline constexpr uint64_t kInterleavedShards = 256;

class SampleOrder {
 public:
  // `shard_sizes`: samples in each shard, in shard order; `window`: samples shuffled together.
  SampleOrder(uint64_t seed, const std::vector<uint64_t>& shard_sizes, uint64_t window,
              OrderKind kind = OrderKind::kInterleaved);

  uint64_t size() const { return size_; }  // samples in an epoch

  // The sample (index into the concatenation of the shards in file order) at `position` of
  // `epoch`; position in [0, size()). A bijection for every (seed, epoch). Thread safe.
  uint64_t At(uint64_t epoch, uint64_t position) const;

  // One of the two functions, and what it remembers of the last few places asked for.
  class Function {
   public:
    virtual ~Function() = default;
    virtual uint64_t At(uint64_t epoch, uint64_t position) const = 0;
  };

 private:
  uint64_t size_ = 0;
  std::shared_ptr<const Function> function_;  // shared by copies
};

// "" where batches are mixed well; else one line that says how few shards or batches a window
// covers, and what to do.
std::string PoorMixing(const std::vector<uint64_t>& shard_sizes, const Config& config);

// Global batch k of a run: whole batches only, the epoch's tail shorter than a batch is dropped
// (it comes in other epochs).
struct BatchPosition {
  uint64_t epoch;
  uint64_t first;  // position of the batch's first sample
};
BatchPosition PositionOfStep(uint64_t step, uint64_t samples_per_epoch, uint64_t global_batch_size);
uint64_t StepsPerEpoch(uint64_t samples_per_epoch, uint64_t global_batch_size);

}  // namespace contrail::data
