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

struct ShardIndex {
  PackedSamples samples;
  uint64_t skipped = 0;  // groups without a picture
};

// Groups members as the webdataset library does: the key is the path up to the first dot of its
// last component, the rest is the extension (case is ignored), a sample is a run of members with
// one key; names without a dot and "__..__" names are passed over. Groups without a picture are
// skipped and counted. Throws UserError E-DATA-TAR: torn archive, or a member given twice.
// `looked` is called at every member: a scan of a large archive takes long and makes progress.
ShardIndex ScanShard(const PositionedFile& tar, const std::function<void()>& looked = {});

// The sidecar's first line.
struct IndexHead {
  uint64_t samples = 0;
  uint64_t skipped = 0;
};

// `<shard>.index` beside it; with an index_dir the shard's absolute path and name again under that
// folder, for data on file systems that cannot be written.
std::string IndexPath(const std::string& tar_path, const std::string& index_dir = "");

// The head of a sidecar that describes this very archive: same size, and same modification time
// or, where only that differs (a copied shard), the same first and last 4 KiB. Nothing where there
// is no sidecar, or it is unreadable, stale, of another version or damaged: the archive itself
// tells as much. Throws IoError where this process has no descriptor left to look with.
// With an index_dir the sidecar is looked for there, and then beside the shard.
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
