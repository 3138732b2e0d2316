#include "checkpoint/load.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "checkpoint/format.h"
#include "common/error.h"
#include "common/hash.h"

namespace contrail::ckpt {
namespace {

constexpr const char* kUseOlder = "use an earlier step (contrail checkpoint list)";

// A stretch of the flat space and where it lies.
struct Segment {
  Range range;
  size_t shard = 0;
  size_t part = 0;
  uint64_t at = 0;  // first element inside the rank's datasets
};

// `bytes` has the size and checksum that COMMIT says.
std::vector<NamedArray> ParseBuffers(const BufferFile& file, const std::string& bytes) {
  std::vector<NamedArray> arrays;
  for (const BufferPlace& place : file.arrays) {
    NamedArray& array = arrays.emplace_back();
    array.name = place.name;
    array.shape = place.shape;
    array.data.resize(place.elements());
    std::memcpy(array.data.data(), bytes.data() + place.offset, array.data.size() * sizeof(float));
  }
  return arrays;
}

class Reader : public StepReader {
 public:
  Reader(const FileSystem& fs, std::string dir, OnRead on_read = {})
      : fs_(fs), dir_(std::move(dir)), on_read_(std::move(on_read)) {
    const std::string commit = dir_ + "/" + kCommitName;
    manifest_ = DecodeManifest(fs_.ReadAll(commit), commit);
    for (size_t s = 0; s < manifest_.shards.size(); ++s) {
      CheckFile(manifest_.shards[s].file, manifest_.shards[s].file_bytes);
      AddShard(s);
    }
    if (manifest_.buffers.bytes > 0) {
      buffers_ = ParseBuffers(manifest_.buffers, ReadWhole(kBuffersName, manifest_.buffers.bytes,
                                                           manifest_.buffers.crc));
    }
    std::sort(segments_.begin(), segments_.end(),
              [](const Segment& a, const Segment& b) { return a.range.begin < b.range.begin; });
  }

  const std::string& dir() const override { return dir_; }
  const RunState& state() const override { return manifest_.state; }
  const Layout& layout() const override { return manifest_.layout; }
  const std::string& lineage() const override { return manifest_.lineage; }
  const std::vector<NamedArray>& buffers() const override { return buffers_; }
  bool weights_only() const override { return manifest_.weights_only; }

  uint64_t bytes() const override {
    uint64_t sum = manifest_.index_bytes + manifest_.buffers.bytes;
    for (const ShardInfo& shard : manifest_.shards) sum += shard.file_bytes;
    return sum;
  }

  void Read(int kind, Range range, float* out) const override {
    CONTRAIL_ASSERT(kind >= 0 && kind < kNumKinds);
    if (kind >= kinds())
      throw UserError("E-CKPT-WEIGHTS-ONLY", dir_,
                      std::string("holds weights only, no ") + kKindNames[kind],
                      "it cannot be resumed; start a run from it with model.init");
    CONTRAIL_ASSERT(range.begin <= range.end && range.end <= manifest_.layout.num_elements);
    auto segment = std::upper_bound(
        segments_.begin(), segments_.end(), range.begin,
        [](uint64_t element, const Segment& other) { return element < other.range.end; });
    for (uint64_t at = range.begin; at < range.end; ++segment) {
      const uint64_t end = std::min(range.end, segment->range.end);
      ReadStretch(*segment, kind, segment->at + (at - segment->range.begin), end - at, out);
      out += end - at;
      at = end;
    }
  }

  // Everything else there is to check.
  void Verify() const {
    std::vector<float> block(manifest_.block_bytes / sizeof(float));
    for (size_t s = 0; s < manifest_.shards.size(); ++s) {
      for (size_t p = 0; p < manifest_.shards[s].parts.size(); ++p) {
        const uint64_t elements = manifest_.shards[s].parts[p].elements();
        for (int kind = 0; kind < kinds(); ++kind)
          for (uint64_t at = 0; at < elements; at += block.size())
            ReadStretch({{}, s, p, 0}, kind, at, std::min(block.size(), elements - at),
                        block.data());
      }
      VerifySkeleton(manifest_.shards[s]);
    }
    ReadWhole(kIndexName, manifest_.index_bytes, manifest_.index_crc);
  }

 private:
  int kinds() const { return KindsOf(manifest_.weights_only); }

  [[noreturn]] void Corrupt(const std::string& file, const std::string& what) const {
    throw EnvironmentError("E-CKPT-CORRUPT", dir_ + "/" + file, what, kUseOlder);
  }

  void CheckFile(const std::string& file, uint64_t bytes) const {
    const std::string path = dir_ + "/" + file;
    if (!fs_.Exists(path)) Corrupt(file, "is missing");
    const uint64_t size = fs_.FileSize(path);
    if (size != bytes)
      Corrupt(file,
              "has " + std::to_string(size) + " bytes where COMMIT says " + std::to_string(bytes));
  }

  std::string ReadWhole(const std::string& file, uint64_t size, uint32_t crc) const {
    CheckFile(file, size);
    std::string bytes = fs_.ReadAll(dir_ + "/" + file);
    if (bytes.size() != size || Crc32c(0, bytes.data(), bytes.size()) != crc)
      Corrupt(file, "is damaged: its checksum differs");
    return bytes;
  }

  void AddShard(size_t s) {
    auto& verified = verified_.emplace_back();
    for (size_t p = 0; p < manifest_.shards[s].parts.size(); ++p) {
      const RankPart& part = manifest_.shards[s].parts[p];
      auto& flags = verified.emplace_back();
      for (int kind = 0; kind < kNumKinds; ++kind)
        flags[kind] = std::vector<std::atomic<bool>>(part.block_crcs[kind].size());
      uint64_t at = 0;
      for (const Range& range : part.ranges) {
        if (range.begin < range.end) segments_.push_back({range, s, p, at});
        at += range.end - range.begin;
      }
    }
  }

  // `count` elements from `first` on of one dataset.
  void ReadStretch(const Segment& segment, int kind, uint64_t first, uint64_t count,
                   float* out) const {
    const ShardInfo& shard = manifest_.shards[segment.shard];
    const RankPart& part = shard.parts[segment.part];
    const uint64_t total = part.elements() * sizeof(float);
    const uint64_t end = (first + count) * sizeof(float);
    char* to = reinterpret_cast<char*>(out);
    std::string scratch;
    for (uint64_t at = first * sizeof(float); at < end;) {
      const uint64_t b = at / manifest_.block_bytes;
      const Extent block = {b * manifest_.block_bytes,
                            std::min(total, (b + 1) * manifest_.block_bytes)};
      const uint64_t size = std::min(end, block.end) - at;
      std::atomic<bool>& verified = verified_[segment.shard][segment.part][kind][b];
      if (verified.load()) {
        Fetch(shard, to, size, part.offset[kind] + at);
      } else {
        const bool whole = size == block.end - block.begin;
        if (!whole) scratch.resize(block.end - block.begin);
        char* bytes = whole ? to : scratch.data();
        Fetch(shard, bytes, block.end - block.begin, part.offset[kind] + block.begin);
        if (Crc32c(0, bytes, block.end - block.begin) != part.block_crcs[kind][b])
          Corrupt(shard.file, DatasetPath(part.rank, kind) + " block " + std::to_string(b) +
                                  " is damaged: its checksum differs");
        verified.store(true);
        if (!whole) std::memcpy(to, bytes + (at - block.begin), size);
      }
      to += size;
      at += size;
    }
  }

  void Fetch(const ShardInfo& shard, char* to, uint64_t size, uint64_t offset) const {
    try {
      fs_.PRead(dir_ + "/" + shard.file, to, size, offset);
    } catch (const Error&) {
      CheckFile(shard.file, shard.file_bytes);  // changed since it was opened?
      throw;
    }
    if (on_read_) on_read_(size);
  }

  void VerifySkeleton(const ShardInfo& shard) const {
    uint32_t crc = 0;
    std::string bytes;
    for (const Extent& gap : Gaps(shard.Payload(kinds()), shard.file_bytes)) {
      bytes.resize(gap.end - gap.begin);
      Fetch(shard, bytes.data(), bytes.size(), gap.begin);
      crc = Crc32c(crc, bytes.data(), bytes.size());
    }
    if (crc != shard.skeleton_crc)
      Corrupt(shard.file, "has damaged HDF5 structures: their checksum differs");
  }

  const FileSystem& fs_;
  const std::string dir_;
  const OnRead on_read_;
  Manifest manifest_;
  std::vector<NamedArray> buffers_;
  std::vector<Segment> segments_;  // ascending, gap-free
  // [shard][part][kind][block]: checked once, then trusted.
  mutable std::vector<std::vector<std::array<std::vector<std::atomic<bool>>, kNumKinds>>> verified_;
};

std::string NameOf(const std::string& path) {
  const size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return path;
  const size_t slash = path.find_last_of('/', end);
  return path.substr(slash == std::string::npos ? 0 : slash + 1,
                     end - (slash == std::string::npos ? -1 : slash));
}

// The step directory meant by `dir`.
std::string Resolve(const FileSystem& fs, const std::string& dir) {
  if (!fs.Exists(dir))
    throw UserError("E-CKPT-MISSING", dir, "there is no such checkpoint",
                    "give a step directory or a run directory");
  if (fs.Exists(dir + "/" + kCommitName)) return dir;
  if (NameOf(dir).starts_with("step_"))
    throw UserError("E-CKPT-UNCOMMITTED", dir,
                    "has no COMMIT: the save never finished, its bytes cannot be trusted",
                    "use a committed step (contrail checkpoint list)");
  const std::vector<StepEntry> steps = ListSteps(fs, CheckpointsDir(fs, dir));
  if (steps.empty())
    throw UserError("E-CKPT-MISSING", dir, "holds no committed checkpoint",
                    "give a step directory or a run directory with one");
  return steps.front().dir;
}

}  // namespace

std::string CheckpointsDir(const FileSystem& fs, const std::string& dir) {
  const std::string inside = dir + "/checkpoints";
  return fs.Exists(inside) ? inside : dir;
}

std::unique_ptr<StepReader> StepReader::Open(const FileSystem& fs, const std::string& dir,
                                             OnRead on_read) {
  return std::make_unique<Reader>(fs, Resolve(fs, dir), std::move(on_read));
}

void VerifyStep(const FileSystem& fs, const std::string& dir) {
  Reader(fs, Resolve(fs, dir)).Verify();
}

}  // namespace contrail::ckpt
