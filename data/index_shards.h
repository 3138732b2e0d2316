#pragma once
// `contrail data index`: the sidecars of shards, and the lists of their folders.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"

namespace contrail::data {

struct IndexResult {
  uint64_t written = 0;  // sidecars
  uint64_t current = 0;  // ... that were right already
  uint64_t samples = 0;
};

// Many shards at a time, as each is a long row of small reads. Every file is replaced atomically,
// and a list comes after the sidecars it speaks of: what is cut off is done by the next call.
// `index_dir` as in IndexPath. Throws what ScanShard and PositionedFile throw of the first such
// shard, and UserError E-IO, naming --index-dir, where the shards' folder cannot be written.
IndexResult IndexShards(FileSystem& files, const std::vector<std::string>& patterns,
                        const std::string& index_dir);

}  // namespace contrail::data
