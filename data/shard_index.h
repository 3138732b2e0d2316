#pragma once
// Where each sample of a shard lies: found by scanning the headers, kept in a sidecar file
// `<shard>.index` (docs/data-format.md) so that opening thousands of shards reads one line each.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
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

// Entries in about 16 bytes each: a rank keeps those of hundreds of shards.
class PackedSamples {
 public:
  void push_back(const SampleEntry& entry);
  uint64_t size() const { return size_; }
  SampleEntry operator[](uint64_t i) const;
  size_t bytes() const { return text_.capacity() + blocks_.capacity() * sizeof blocks_[0]; }
  void shrink_to_fit();

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = SampleEntry;
    using difference_type = std::ptrdiff_t;
    using pointer = const SampleEntry*;
    using reference = SampleEntry;
    Iterator(const PackedSamples* of, uint64_t at) : of_(of), at_(at) {}
    SampleEntry operator*() const { return (*of_)[at_]; }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    void operator++(int) { ++at_; }
    bool operator==(const Iterator&) const = default;

   private:
    const PackedSamples* of_;
    uint64_t at_;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size_}; }

 private:
  uint64_t size_ = 0;
  std::string text_;              // numbers of 7 bits a byte, and what is new in each key
  std::vector<uint64_t> blocks_;  // where every eighth entry begins; it needs none before it
  SampleEntry last_;
};

// The sidecar's first line.
struct IndexHead {
  uint64_t samples = 0;
  uint64_t captions = 0;  // samples with a caption in a .txt
  LeftOut left_out;
};

struct ShardIndex {
  PackedSamples samples;
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

// As training looks at a shard without a sidecar: one that is cut off is numbered, and a warning
// says so.
ShardIndex ScanToTrain(const PositionedFile& tar, const OnBytes& passed = {});

// `<shard>.index` beside it; with an index_dir the shard's absolute path and name again under that
// folder, for data on file systems that cannot be written.
std::string IndexPath(const std::string& tar_path, const std::string& index_dir = "");

// The head of a sidecar that describes this very archive: same size, and same modification time
// or, where only that differs (a copied shard), the same first and last 4 KiB. Nothing where there
// is no sidecar, or it is unreadable, stale, of another version or damaged, or says what cannot be
// (contents beyond the archive's end): the archive itself tells as much. Throws IoError where this
// process has no descriptor left to look with. With an index_dir the sidecar is looked for there,
// and then beside the shard.
std::optional<IndexHead> ReadIndexHead(const PositionedFile& tar,
                                       const std::string& index_dir = "");

// The whole sidecar; nothing as above, or where its checksum fails.
std::optional<ShardIndex> ReadIndex(const PositionedFile& tar, const std::string& index_dir = "");

// The head that a sidecar's first line holds, where it was written of an archive of just this size
// and time: what is known of a shard without opening it.
struct FileStamp {
  uint64_t bytes = 0;
  int64_t time = 0;
  uint64_t size() const { return bytes; }
  int64_t mtime_ns() const { return time; }
};
std::optional<IndexHead> HeadOfLine(std::string_view line, const FileStamp& stamp);

// The sidecar's text.
std::string IndexText(const PositionedFile& tar, const ShardIndex& index);

// Writes the sidecar atomically.
void WriteIndex(FileSystem& files, const PositionedFile& tar, const ShardIndex& index,
                const std::string& index_dir = "");

}  // namespace contrail::data
