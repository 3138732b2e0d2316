#include "data/interleaved_order.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <queue>
#include <utility>

#include "data/permutation.h"

namespace contrail::data {
namespace {

// Names of permutations within an epoch: a window's is its number, which is smaller than all these.
constexpr uint64_t kShardLevel = ~uint64_t{0};
constexpr uint64_t kInShardLevel = uint64_t{1} << 63;  // | shard

constexpr size_t kEpochs = 2;   // an epoch and the one being prefetched
constexpr size_t kWindows = 4;  // the same for windows, of which a batch may touch two

// A shard's turn in its lane.
struct Turn {
  uint64_t start;  // place in the lane
  uint64_t first;  // the shard's first sample
  Permutation within;
};

struct Lane {
  uint64_t size = 0;
  std::vector<Turn> turns;
};

struct EpochPlan {
  uint64_t epoch;
  std::vector<Lane> lanes;
};

struct WindowPlan {
  std::shared_ptr<const EpochPlan> epoch;
  uint64_t first = 0;  // positions [first, end) of the epoch
  uint64_t end = 0;
  std::vector<uint64_t> lane_from;  // this window's first place of each lane
  std::vector<uint64_t> before;     // samples that the window takes from the lanes before
  Permutation within{0, 0, 0, 1};
};

class Interleaved : public SampleOrder::Function {
 public:
  Interleaved(uint64_t seed, const std::vector<uint64_t>& shard_sizes, uint64_t window)
      : seed_(seed), shard_sizes_(shard_sizes) {
    uint64_t filled = 0;
    for (const uint64_t size : shard_sizes) {
      shard_start_.push_back(size_);
      size_ += size;
      filled += size > 0 ? 1 : 0;
    }
    lanes_ = std::min(kInterleavedShards, filled);
    window_ = std::max(window, lanes_);  // of every lane something
  }

  uint64_t At(uint64_t epoch, uint64_t position) const override {
    const std::shared_ptr<const WindowPlan> window = Window(epoch, position);
    const uint64_t drawn = window->within(position - window->first);
    const auto& before = window->before;
    const auto lane = static_cast<size_t>(std::upper_bound(before.begin(), before.end(), drawn) -
                                          before.begin() - 1);
    const uint64_t place = window->lane_from[lane] + (drawn - before[lane]);
    const std::vector<Turn>& turns = window->epoch->lanes[lane].turns;
    const auto after =
        std::upper_bound(turns.begin(), turns.end(), place,
                         [](uint64_t wanted, const Turn& turn) { return wanted < turn.start; });
    const Turn& turn = *std::prev(after);
    return turn.first + turn.within(place - turn.start);
  }

 private:
  // The place in a lane of `size` samples by which `done` of the epoch's samples have gone.
  uint64_t PlaceIn(uint64_t size, uint64_t done) const {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(size) * done / size_);
  }

  std::shared_ptr<const WindowPlan> Window(uint64_t epoch, uint64_t position) const {
    const std::lock_guard lock(mutex_);
    for (const auto& plan : windows_) {
      if (plan->epoch->epoch == epoch && plan->first <= position && position < plan->end) {
        return plan;
      }
    }
    // Lanes give whole samples, so windows end up to a sample a lane before multiples of window_.
    uint64_t number = position / window_;
    std::shared_ptr<WindowPlan> plan = PlanWindow(epoch, number);
    while (plan->end <= position) plan = PlanWindow(epoch, ++number);
    windows_.push_back(plan);
    if (windows_.size() > kWindows) windows_.pop_front();
    return plan;
  }

  std::shared_ptr<WindowPlan> PlanWindow(uint64_t epoch, uint64_t number) const {
    auto plan = std::make_shared<WindowPlan>();
    plan->epoch = Epoch(epoch);
    const uint64_t from = number * window_;
    const uint64_t to = from + std::min(window_, size_ - from);
    uint64_t taken = 0;
    for (const Lane& lane : plan->epoch->lanes) {
      plan->lane_from.push_back(PlaceIn(lane.size, from));
      plan->before.push_back(taken);
      taken += PlaceIn(lane.size, to) - plan->lane_from.back();
      plan->first += plan->lane_from.back();
    }
    plan->end = plan->first + taken;
    if (taken > 0) plan->within = Permutation(seed_, epoch, number, taken);
    return plan;
  }

  std::shared_ptr<const EpochPlan> Epoch(uint64_t epoch) const {
    for (const auto& plan : epochs_) {
      if (plan->epoch == epoch) return plan;
    }
    const auto plan = std::make_shared<const EpochPlan>(EpochPlan{epoch, Deal(epoch)});
    epochs_.push_back(plan);
    if (epochs_.size() > kEpochs) epochs_.pop_front();
    return plan;
  }

  std::vector<Lane> Deal(uint64_t epoch) const {
    std::vector<Lane> lanes(lanes_);
    using Length = std::pair<uint64_t, size_t>;  // of which lane
    std::priority_queue<Length, std::vector<Length>, std::greater<>> shortest;
    for (size_t lane = 0; lane < lanes.size(); ++lane) shortest.push({0, lane});
    const Permutation shuffled(seed_, epoch, kShardLevel, shard_sizes_.size());
    for (uint64_t slot = 0; slot < shard_sizes_.size(); ++slot) {
      const uint64_t shard = shuffled(slot);
      const uint64_t size = shard_sizes_[shard];
      if (size == 0) continue;
      Lane& lane = lanes[shortest.top().second];
      const size_t number = shortest.top().second;
      shortest.pop();
      lane.turns.push_back(
          {lane.size, shard_start_[shard], Permutation(seed_, epoch, kInShardLevel | shard, size)});
      lane.size += size;
      shortest.push({lane.size, number});
    }
    return lanes;
  }

  const uint64_t seed_;
  const std::vector<uint64_t> shard_sizes_;
  std::vector<uint64_t> shard_start_;
  uint64_t size_ = 0;
  uint64_t lanes_ = 0;
  uint64_t window_ = 0;
  mutable std::mutex mutex_;
  mutable std::deque<std::shared_ptr<const EpochPlan>> epochs_;
  mutable std::deque<std::shared_ptr<const WindowPlan>> windows_;
};

}  // namespace

std::shared_ptr<const SampleOrder::Function> InterleavedOrder(
    uint64_t seed, const std::vector<uint64_t>& shard_sizes, uint64_t window) {
  return std::make_shared<Interleaved>(seed, shard_sizes, window);
}

}  // namespace contrail::data
