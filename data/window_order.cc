#include "data/window_order.h"

#include <algorithm>
#include <deque>
#include <mutex>

#include "data/permutation.h"

namespace contrail::data {
namespace {

// The second name of the shard permutation; windows use their own index, which is smaller.
constexpr uint64_t kShardLevel = ~uint64_t{0};
constexpr size_t kPlans = 2;  // an epoch and the one being prefetched

struct EpochPlan {
  uint64_t epoch;
  std::vector<uint64_t> shard;  // shuffled slot -> shard
  std::vector<uint64_t> start;  // shuffled slot -> first position of the concatenation
};

class Windows : public SampleOrder::Function {
 public:
  Windows(uint64_t seed, const std::vector<uint64_t>& shard_sizes, uint64_t window)
      : seed_(seed), window_(window) {
    shard_start_.reserve(shard_sizes.size() + 1);
    shard_start_.push_back(0);
    for (const uint64_t size : shard_sizes) shard_start_.push_back(size_ += size);
  }

  uint64_t At(uint64_t epoch, uint64_t position) const override {
    const uint64_t window = position / window_;
    const uint64_t first = window * window_;
    const Permutation within(seed_, epoch, window, std::min(window_, size_ - first));
    const uint64_t place = first + within(position - first);

    const std::shared_ptr<const EpochPlan> plan = Plan(epoch);
    const auto after = std::upper_bound(plan->start.begin(), plan->start.end(), place);
    const auto slot = static_cast<size_t>(after - plan->start.begin()) - 1;
    return shard_start_[plan->shard[slot]] + (place - plan->start[slot]);
  }

 private:
  std::shared_ptr<const EpochPlan> Plan(uint64_t epoch) const {
    const std::lock_guard lock(mutex_);
    for (const auto& plan : plans_) {
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
    plans_.push_back(plan);
    if (plans_.size() > kPlans) plans_.pop_front();
    return plan;
  }

  const uint64_t seed_;
  const uint64_t window_;
  uint64_t size_ = 0;
  std::vector<uint64_t> shard_start_;  // prefix sums, file order
  mutable std::mutex mutex_;
  mutable std::deque<std::shared_ptr<const EpochPlan>> plans_;
};

}  // namespace

std::shared_ptr<const SampleOrder::Function> WindowOrder(uint64_t seed,
                                                         const std::vector<uint64_t>& shard_sizes,
                                                         uint64_t window) {
  return std::make_shared<Windows>(seed, shard_sizes, window);
}

}  // namespace contrail::data
