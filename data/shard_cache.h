#pragma once
// The open shards of a dataset: file and index of the recently used ones.

#include <cstdint>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/dataset.h"
#include "data/shard_index.h"

namespace contrail::data {

struct OpenShard {
  explicit OpenShard(const std::string& path) : file(path) {}
  PositionedFile file;
  ShardIndex index;
};

// Thread safe. A run reads from the shards its shuffle window touches, so keeping a bounded number
// open costs no repeated work and neither descriptors nor memory grow with the dataset. (A window
// touches more than 512 where shards hold fewer samples than 1/256 of it: they are then opened
// again, which for such small shards is a few reads.)
// Where the process has no descriptor left all the same, shards are closed until one is free.
class ShardCache {
 public:
  // How many shards this process may keep open: half of its descriptors, as sockets, checkpoints
  // and logs need some too, and at most 512: twice the lanes of the order, whose shards change at
  // different times.
  static size_t DescriptorShare();

  ShardCache(std::vector<std::string> paths, size_t max_shards, uint64_t max_samples,
             std::string index_dir = "")
      : paths_(std::move(paths)),
        index_dir_(std::move(index_dir)),
        max_shards_(max_shards),
        max_samples_(max_samples) {}

  // Opens and indexes the shard on first use; other threads that want it wait for the first.
  std::shared_ptr<const OpenShard> Get(size_t shard);

  // Closes the shard where it is open; the next Get opens it anew.
  void Forget(size_t shard);

  // The shard's head. Opens the shard once; one that had to be scanned is kept as Get keeps it.
  ShardHead Head(size_t shard);

  const std::string& path(size_t shard) const { return paths_[shard]; }

 private:
  using Future = std::shared_future<std::shared_ptr<const OpenShard>>;
  struct Slot {
    Future future;
    std::list<size_t>::iterator place;
    uint64_t samples = 0;  // 0 while it is being opened
  };
  void Keep(size_t shard, std::shared_ptr<const OpenShard> open);
  void Evict();
  bool EvictOldest();
  void WithDescriptors(const std::function<void()>& open);

  const std::vector<std::string> paths_;
  const std::string index_dir_;
  const size_t max_shards_;
  const uint64_t max_samples_;
  std::mutex mutex_;
  std::unordered_map<size_t, Slot> slots_;
  std::list<size_t> recent_;  // most recent first
  uint64_t samples_ = 0;
};

}  // namespace contrail::data
