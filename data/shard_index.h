#pragma once
// Where each sample of a shard lies: found by scanning the headers, kept in a sidecar file
// `<shard>.index` (docs/data-format.md) so that opening thousands of shards reads one line each.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "data/tar.h"

namespace contrail::data {

// Contents of one member; size 0 and offset 0 where the sample has none.
struct Extent {
  uint64_t offset = 0;
  uint64_t size = 0;
  bool present() const { return offset != 0; }  // contents never start at byte 0
};

struct SampleEntry {
  std::string key;  // "000123"
  Extent image;     // .jpg .jpeg .png
  Extent caption;   // .txt
  Extent label;     // .cls
};

struct ShardIndex {
  std::vector<SampleEntry> samples;
  uint64_t skipped = 0;  // groups without a picture
  std::string torn;      // where the archive is cut off: the error line; else empty
};

// What is done with an archive that is cut off.
enum class AtTear {
  kThrow,
  kNumber,  // its whole samples count, and so does the torn one, which lies beyond the end
};

// "; its N whole samples are used, ...": what becomes of a torn shard.
std::string TornNote(const ShardIndex& index);

// Groups members as the webdataset library does: the key is the path up to the first dot of its
// last component, the rest is the extension (case is ignored), a sample is a run of members with
// one key; names without a dot and "__..__" names are passed over. Groups without a picture are
// skipped and counted. Throws UserError E-DATA-TAR: torn archive, or a member given twice.
ShardIndex ScanShard(const PositionedFile& tar, AtTear at_tear = AtTear::kThrow);

// The sidecar's first line.
struct IndexHead {
  uint64_t samples = 0;
  uint64_t skipped = 0;
};

std::string IndexPath(const std::string& tar_path);

// The head of a sidecar that describes this very archive: same size, and same modification time
// or, where only that differs (a copied shard), the same first and last 4 KiB. Nothing where there
// is no sidecar, or it is unreadable, stale, of another version or damaged: the archive itself
// tells as much. Throws IoError where this process has no descriptor left to look with.
std::optional<IndexHead> ReadIndexHead(const PositionedFile& tar);

// The whole sidecar; nothing as above, or where its checksum fails.
std::optional<ShardIndex> ReadIndex(const PositionedFile& tar);

// The sidecar's text.
std::string IndexText(const PositionedFile& tar, const ShardIndex& index);

// Writes the sidecar atomically.
void WriteIndex(FileSystem& files, const PositionedFile& tar, const ShardIndex& index);

}  // namespace contrail::data
