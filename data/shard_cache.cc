#include "data/shard_cache.h"

#include <utility>

namespace contrail::data {
namespace {

std::shared_ptr<const OpenShard> OpenNow(const std::string& path) {
  auto shard = std::make_shared<OpenShard>(path);
  std::optional<ShardIndex> sidecar = ReadIndex(shard->file);
  shard->index = sidecar ? std::move(*sidecar) : ScanShard(shard->file);
  return shard;
}

}  // namespace

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
    promise.set_value(OpenNow(paths_[shard]));
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

void ShardCache::Evict() {
  auto oldest = recent_.end();
  while ((slots_.size() > max_shards_ || samples_ > max_samples_) && oldest != recent_.begin()) {
    --oldest;
    const auto slot = slots_.find(*oldest);
    if (oldest == recent_.begin() || slot->second.samples == 0) continue;  // in use or opening
    samples_ -= slot->second.samples;
    slots_.erase(slot);
    oldest = recent_.erase(oldest);
  }
}

}  // namespace contrail::data
