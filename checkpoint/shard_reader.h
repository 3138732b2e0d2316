#pragma once
// Reads stretches of the datasets of a committed step, each byte once and checked.
//
// What covers a whole block is checked by the block's checksum in COMMIT. Of a block that is wanted
// in part, the pages that hold the part are read; their checksums lie in the shard, and are
// themselves checked by the block's, which follows from them. A page that was read for its edge is
// kept for whoever wants its other side. So any change of the number of ranks costs a rank little
// more than the bytes it needs. Steps of minor version 0 and 1 have no pages: there a block is read
// whole.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "checkpoint/format.h"
#include "common/file_system.h"

namespace contrail::ckpt {

// Told of bytes as they are read: a load that takes long is seen to move.
using OnRead = std::function<void(uint64_t bytes)>;

class ShardReader {
 public:
  // All three outlive it. `seen`: another rank has found every shard there and of the right size,
  // so one that is not so here is not damaged, this node just cannot see it yet (E-IO).
  ShardReader(const FileSystem& fs, const std::string& dir, const Manifest& manifest,
              bool seen = false);

  void Tell(OnRead on_read) { on_read_ = std::move(on_read); }  // before the first Read

  struct Dataset {
    size_t shard = 0;  // indices in the manifest
    size_t part = 0;
    int kind = 0;
  };
  // Bytes [want.begin, want.end) of a dataset. Throws E-CKPT-CORRUPT (names file, dataset and
  // block; a shard that is missing or has another size) and E-IO. Any number of threads.
  void Read(const Dataset& dataset, Extent want, char* out) const;
  // Bytes of a shard as they are, unchecked. Throws as Read.
  void ReadUnchecked(size_t shard, Extent want, char* out) const;

 private:
  struct Key {
    Dataset dataset;
    uint64_t index = 0;  // of the page or block
    bool operator<(const Key& other) const { return Tuple() < other.Tuple(); }
    std::tuple<size_t, size_t, int, uint64_t> Tuple() const {
      return {dataset.shard, dataset.part, dataset.kind, index};
    }
  };
  struct OpenFile {
    std::shared_ptr<const ReadableFile> file;
    uint64_t last_use = 0;
  };

  const RankPart& PartOf(const Dataset& dataset) const;
  void ReadPages(const Dataset& dataset, uint64_t block, Extent of_block, Extent want,
                 char* out) const;
  std::vector<uint32_t> PageCrcs(const Dataset& dataset, uint64_t block, Extent of_block) const;
  bool TakeFromEdge(const Dataset& dataset, uint64_t page, Extent want, char* out) const;
  void KeepEdge(const Dataset& dataset, uint64_t page, std::string bytes) const;
  std::shared_ptr<const ReadableFile> FileOf(size_t shard) const;
  [[noreturn]] void Damaged(const Dataset& dataset, uint64_t block) const;

  const FileSystem& fs_;
  const std::string& dir_;
  const Manifest& manifest_;
  const bool seen_;
  const uint64_t page_bytes_;
  OnRead on_read_;

  mutable std::mutex mutex_;
  // All guarded by mutex_.
  mutable std::map<size_t, OpenFile> files_;  // a bounded number, the latest used
  mutable uint64_t uses_ = 0;
  mutable std::map<Key, std::vector<uint32_t>>
      page_crcs_;                             // of blocks; a thousandth of what is read
  mutable std::map<Key, std::string> edges_;  // pages, a bounded number of bytes
  mutable std::deque<Key> edges_by_age_;
  mutable uint64_t edge_bytes_ = 0;
};

// Throws E-CKPT-CORRUPT: a file of the step is not what COMMIT says.
[[noreturn]] void CorruptStep(const std::string& dir, const std::string& file,
                              const std::string& what);
// Throws CorruptStep where the file is missing or has not `bytes`, E-IO where that cannot be told.
void CheckFileOfStep(const FileSystem& fs, const std::string& dir, const std::string& file,
                     uint64_t bytes);

}  // namespace contrail::ckpt
