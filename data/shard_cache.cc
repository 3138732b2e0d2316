#include "data/shard_cache.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace contrail::data {
namespace {

constexpr size_t kMostShards = 512;
constexpr size_t kFewestShards = 4;

}  // namespace

size_t ShardCache::DescriptorShare() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);  // cannot fail: the resource is known
  return std::clamp<rlim_t>(limit.rlim_cur / 2, kFewestShards, kMostShards);
}

ShardHead ShardCache::Head(size_t shard) {
  std::shared_ptr<OpenShard> open;
  std::optional<IndexHead> head;
  WithDescriptors([&] {
    open = std::make_shared<OpenShard>(paths_[shard]);
    head = ReadIndexHead(open->file, index_dir_);
  });
  if (head) return HeadOf(paths_[shard], open->file.size(), *head);
  open->index = ScanToTrain(open->file);
  ShardHead scanned = HeadOf(paths_[shard], open->file.size(), open->index.Head());
  Keep(shard, std::move(open));
  return scanned;
}

std::shared_ptr<const OpenShard> ShardCache::Get(size_t shard) {
  std::promise<std::shared_ptr<const OpenShard>> promise;
  Future future;
  bool mine = false;
  {
    const std::lock_guard lock(mutex_);
    const auto found = slots_.find(shard);
    if (found != slots_.end()) {
      recent_.splice(recent_.begin(), recent_, found->second.place);
      future = found->second.future;
    } else {
      mine = true;
      future = promise.get_future().share();
      recent_.push_front(shard);
      slots_[shard] = {future, recent_.begin(), 0};
    }
  }
  if (!mine) return future.get();
  try {
    std::shared_ptr<OpenShard> open;
    std::optional<ShardIndex> sidecar;
    WithDescriptors([&] {
      open = std::make_shared<OpenShard>(paths_[shard]);
      sidecar = ReadIndex(open->file, index_dir_);
    });
    open->index = sidecar ? std::move(*sidecar) : ScanShard(open->file, AtTear::kNumber);
    promise.set_value(std::move(open));
  } catch (...) {
    promise.set_exception(std::current_exception());
    const std::lock_guard lock(mutex_);
    const auto found = slots_.find(shard);
    recent_.erase(found->second.place);
    slots_.erase(found);
    return future.get();
  }
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_.at(shard);
  slot.samples = future.get()->index.samples.size() + 1;
  samples_ += slot.samples;
  Evict();
  return future.get();
}

void ShardCache::Forget(size_t shard) {
  const std::lock_guard lock(mutex_);
  const auto slot = slots_.find(shard);
  if (slot == slots_.end() || slot->second.samples == 0) return;  // gone, or just being opened
  samples_ -= slot->second.samples;
  recent_.erase(slot->second.place);
  slots_.erase(slot);
}

void ShardCache::Keep(size_t shard, std::shared_ptr<const OpenShard> open) {
  const std::lock_guard lock(mutex_);
  if (slots_.count(shard) > 0) return;
  std::promise<std::shared_ptr<const OpenShard>> promise;
  const uint64_t samples = open->index.samples.size() + 1;
  promise.set_value(std::move(open));
  recent_.push_front(shard);
  slots_[shard] = {promise.get_future().share(), recent_.begin(), samples};
  samples_ += samples;
  Evict();
}

// Runs `open`, which opens files; where there is no descriptor for one, closes shards and tries
// again. Fails only when none of the cache's is left.
void ShardCache::WithDescriptors(const std::function<void()>& open) {
  for (;;) {
    try {
      return open();
    } catch (const IoError& error) {
      if (!OutOfDescriptors(error)) throw;
      const std::lock_guard lock(mutex_);
      if (!EvictOldest()) throw;
    }
  }
}

void ShardCache::Evict() {
  while (slots_.size() > max_shards_ || samples_ > max_samples_) {
    if (!EvictOldest()) return;
  }
}

// Forgets the shard that was not used for longest, but for the newest and those being opened; a
// thread that still reads from it closes it when it is done. False where there is none.
bool ShardCache::EvictOldest() {
  for (auto oldest = recent_.end(); oldest != recent_.begin();) {
    --oldest;
    const auto slot = slots_.find(*oldest);
    if (oldest == recent_.begin() || slot->second.samples == 0) continue;
    samples_ -= slot->second.samples;
    slots_.erase(slot);
    recent_.erase(oldest);
    return true;
  }
  return false;
}

}  // namespace contrail::data
