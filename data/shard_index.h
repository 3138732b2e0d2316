#pragma once
// Where each sample of a shard lies: found by scanning the headers, kept in a sidecar file
// `<shard>.index` (docs/data-format.md) so that opening thousands of shards reads one line each.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "data/left_out.h"
#include "data/tar.h"

namespace contrail::data {

// Contents of one member; size 0 and offset 0 where the sample has none.
struct Extent {
  uint64_t offset = 0;
  uint64_t size = 0;
  bool present() const { return offset != 0; }  // contents never start at byte 0
};

using OnBytes = std::function<void(uint64_t)>;

struct SampleEntry {
  std::string key;  // "000123"
  Extent image;     // .jpg .jpeg .png .webp
  Extent caption;   // .txt; none where it is blank
  Extent label;     // .cls
  Extent json;      // .json
};

// The sidecar's first line.
struct IndexHead {
  uint64_t samples = 0;
  uint64_t captions = 0;  // samples with a caption in a .txt
  LeftOut left_out;
};

struct ShardIndex {
  std::vector<SampleEntry> samples;
  LeftOut left_out;
  std::string torn;  // where the archive is cut off: the error line; else empty
  IndexHead Head() const;
};

// What is done with an archive that is cut off.
enum class AtTear {
  kThrow,
  kNumber,  // its whole samples count, and so does the torn one, which lies beyond the end
};

// Groups members as the webdataset library does: the key is the path up to the first dot of its
// last component, the rest is the extension (case is ignored); names without a dot and "__..__"
// names are passed over. Members of one key make one sample wherever they lie in the archive, at
// the place of the first of them. Links inside the archive are followed. Groups without a picture
// and pictures of other kinds are left out and counted. Throws UserError E-DATA-TAR: torn archive,
// a member given twice, a link to something else than a file of the archive. `passed` is told of
// every stretch of the archive as it is left behind: a scan from a slow file system takes minutes.
ShardIndex ScanShard(const PositionedFile& tar, AtTear at_tear = AtTear::kThrow,
                     const OnBytes& passed = {});

std::string IndexPath(const std::string& tar_path);

// The head of a sidecar that describes this very archive: same size, and same modification time
// or, where only that differs (a copied shard), the same first and last 4 KiB. Nothing where there
// is no sidecar, or it is unreadable, stale, of another version or damaged, or says what cannot be
// (contents beyond the archive's end): the archive itself tells as much. Throws IoError where this
// process has no descriptor left to look with.
std::optional<IndexHead> ReadIndexHead(const PositionedFile& tar);

// The whole sidecar; nothing as above, or where its checksum fails.
std::optional<ShardIndex> ReadIndex(const PositionedFile& tar);

// The sidecar's text.
std::string IndexText(const PositionedFile& tar, const ShardIndex& index);

// Writes the sidecar atomically.
void WriteIndex(FileSystem& files, const PositionedFile& tar, const ShardIndex& index);

}  // namespace contrail::data
