#include "data/order.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <utility>

#include "common/error.h"
#include "data/permutation.h"

namespace contrail::data {
namespace {

// The second name of the shard permutation; windows use their own index, which is smaller.
constexpr uint64_t kShardLevel = ~uint64_t{0};

// Sets these draws apart from augmentation, which is keyed by (seed, epoch, sample).
constexpr uint64_t kOrderPurpose = 0x6f72646572;

}  // namespace

struct SampleOrder::EpochPlan {
  uint64_t epoch;
  std::vector<uint64_t> shard;  // shuffled slot -> shard
  std::vector<uint64_t> start;  // shuffled slot -> first position of the concatenation
};

struct SampleOrder::PlanCache {
  static constexpr size_t kPlans = 2;  // an epoch and the one being prefetched
  std::mutex mutex;
  std::deque<std::shared_ptr<const EpochPlan>> plans;
};

SampleOrder::SampleOrder(uint64_t seed, std::vector<uint64_t> shard_sizes, uint64_t window)
    : seed_(seed ^ kOrderPurpose), window_(window), cache_(std::make_shared<PlanCache>()) {
  CONTRAIL_ASSERT(window > 0);
  shard_start_.reserve(shard_sizes.size() + 1);
  shard_start_.push_back(0);
  for (const uint64_t size : shard_sizes) shard_start_.push_back(size_ += size);
}

uint64_t SampleOrder::At(uint64_t epoch, uint64_t position) const {
  CONTRAIL_ASSERT(position < size_);
  const uint64_t window = position / window_;
  const uint64_t first = window * window_;
  const Permutation within(seed_, epoch, window, std::min(window_, size_ - first));
  const uint64_t place = first + within(position - first);

  const std::shared_ptr<const EpochPlan> plan = Plan(epoch);
  const auto after = std::upper_bound(plan->start.begin(), plan->start.end(), place);
  const auto slot = static_cast<size_t>(after - plan->start.begin()) - 1;
  return shard_start_[plan->shard[slot]] + (place - plan->start[slot]);
}

std::shared_ptr<const SampleOrder::EpochPlan> SampleOrder::Plan(uint64_t epoch) const {
  const std::lock_guard lock(cache_->mutex);
  for (const auto& plan : cache_->plans) {
    if (plan->epoch == epoch) return plan;
  }
  const uint64_t shards = shard_start_.size() - 1;
  const Permutation shuffled(seed_, epoch, kShardLevel, shards);
  auto plan = std::make_shared<EpochPlan>();
  plan->epoch = epoch;
  uint64_t start = 0;
  for (uint64_t slot = 0; slot < shards; ++slot) {
    const uint64_t shard = shuffled(slot);
    plan->shard.push_back(shard);
    plan->start.push_back(start);
    start += shard_start_[shard + 1] - shard_start_[shard];
  }
  cache_->plans.push_back(plan);
  if (cache_->plans.size() > PlanCache::kPlans) cache_->plans.pop_front();
  return plan;
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
