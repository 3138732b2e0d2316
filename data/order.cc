#include "data/order.h"

#include <algorithm>
#include <numeric>

#include "common/error.h"
#include "data/interleaved_order.h"
#include "data/window_order.h"

namespace contrail::data {
namespace {

// Sets these draws apart from augmentation, which is keyed by (seed, epoch, sample).
constexpr uint64_t kOrderPurpose = 0x6f72646572;

constexpr uint64_t kWindowBatches = 16;
constexpr uint64_t kSmallestWindow = 65'536;

}  // namespace

OrderKind ParseOrder(std::string_view name) {
  CONTRAIL_ASSERT(name == "interleaved" || name == "windows");  // the config's choices
  return name == "windows" ? OrderKind::kWindows : OrderKind::kInterleaved;
}

uint64_t ShuffleWindow(const Config& config) {
  if (config.data.shuffle_window > 0) return static_cast<uint64_t>(config.data.shuffle_window);
  return std::max(kSmallestWindow,
                  kWindowBatches * static_cast<uint64_t>(config.train.global_batch_size));
}

SampleOrder::SampleOrder(uint64_t seed, const std::vector<uint64_t>& shard_sizes, uint64_t window,
                         OrderKind kind)
    : size_(std::accumulate(shard_sizes.begin(), shard_sizes.end(), uint64_t{0})) {
  CONTRAIL_ASSERT(window > 0);
  seed ^= kOrderPurpose;
  function_ = kind == OrderKind::kWindows ? WindowOrder(seed, shard_sizes, window)
                                          : InterleavedOrder(seed, shard_sizes, window);
}

uint64_t SampleOrder::At(uint64_t epoch, uint64_t position) const {
  CONTRAIL_ASSERT(position < size_);
  return function_->At(epoch, position);
}

std::string PoorMixing(const std::vector<uint64_t>& shard_sizes, const Config& config) {
  const auto batch = static_cast<uint64_t>(config.train.global_batch_size);
  const uint64_t window = ShuffleWindow(config);
  uint64_t samples = 0;
  uint64_t shards = 0;
  for (const uint64_t size : shard_sizes) {
    samples += size;
    shards += size > 0 ? 1 : 0;
  }
  if (window >= samples) return "";
  const std::string all = std::to_string(shards);
  if (ParseOrder(config.data.order) == OrderKind::kWindows) {
    const uint64_t covered = std::min(shards, window * shards / samples + 1);
    if (covered >= std::min(shards, kInterleavedShards)) return "";
    return "batches draw from about " + std::to_string(covered) + " of " + all +
           " shards at a time, as this run began (data.order = \"windows\"); a new run draws "
           "from " +
           std::to_string(std::min(shards, kInterleavedShards));
  }
  if (window >= kWindowBatches * batch) return "";
  return "data.shuffle_window = " + std::to_string(window) + " covers " +
         std::to_string(window / batch) + " global batches and so few samples of each of " +
         std::to_string(std::min(shards, kInterleavedShards)) +
         " shards; leave it at 0 for windows of " + std::to_string(kWindowBatches) + " batches";
}

BatchPosition PositionOfStep(uint64_t step, uint64_t samples_per_epoch,
                             uint64_t global_batch_size) {
  const uint64_t steps = StepsPerEpoch(samples_per_epoch, global_batch_size);
  CONTRAIL_ASSERT(steps > 0);
  return {step / steps, step % steps * global_batch_size};
}

uint64_t StepsPerEpoch(uint64_t samples_per_epoch, uint64_t global_batch_size) {
  CONTRAIL_ASSERT(global_batch_size > 0);
  return samples_per_epoch / global_batch_size;
}

}  // namespace contrail::data
