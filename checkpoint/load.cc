#include "checkpoint/load.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "checkpoint/format.h"
#include "checkpoint/newest.h"
#include "checkpoint/shard_reader.h"
#include "common/error.h"
#include "common/hash.h"

namespace contrail::ckpt {
namespace {

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

// What a root hands on: where the step is, how long COMMIT is, COMMIT, buffers.h5.
std::string JoinHeader(const std::string& dir, const std::string& commit,
                       const std::string& buffers) {
  return dir + "\n" + std::to_string(commit.size()) + "\n" + commit + buffers;
}

class Reader : public StepReader {
 public:
  // From the file system; every file is there with the size that COMMIT says.
  Reader(const FileSystem& fs, std::string dir)
      : Reader(fs, dir, fs.ReadAll(dir + "/" + kCommitName), std::nullopt) {
    for (const ShardInfo& shard : manifest_.shards)
      CheckFileOfStep(fs_, dir_, shard.file, shard.file_bytes);
  }

  // `buffers`: buffers.h5, as another rank has read it, which has also looked at every shard.
  Reader(const FileSystem& fs, std::string dir, std::string commit,
         std::optional<std::string> buffers)
      : fs_(fs),
        dir_(std::move(dir)),
        manifest_(DecodeManifest(commit, dir_ + "/" + kCommitName)),
        shards_(fs_, dir_, manifest_, /*seen=*/buffers.has_value()) {
    for (size_t s = 0; s < manifest_.shards.size(); ++s) AddShard(s);
    std::sort(segments_.begin(), segments_.end(),
              [](const Segment& a, const Segment& b) { return a.range.begin < b.range.begin; });
    const BufferFile& file = manifest_.buffers;
    if (file.bytes > 0) {
      if (!buffers) buffers = ReadWhole(kBuffersName, file.bytes, file.crc);
      buffers_ = ParseBuffers(file, *buffers);
    }
    header_ = JoinHeader(dir_, commit, buffers.value_or(""));
  }

  void Tell(OnRead on_read) override { shards_.Tell(std::move(on_read)); }
  const std::string& dir() const override { return dir_; }
  const RunState& state() const override { return manifest_.state; }
  const Layout& layout() const override { return manifest_.layout; }
  const std::string& lineage() const override { return manifest_.lineage; }
  const std::vector<NamedArray>& buffers() const override { return buffers_; }
  bool weights_only() const override { return manifest_.weights_only; }
  const std::string& header() const override { return header_; }

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
      const uint64_t first = segment->at + (at - segment->range.begin);
      shards_.Read({segment->shard, segment->part, kind},
                   {first * sizeof(float), (first + end - at) * sizeof(float)},
                   reinterpret_cast<char*>(out));
      out += end - at;
      at = end;
    }
  }

  // Everything else there is to check.
  void Verify() const {
    std::string block(manifest_.block_bytes, '\0');
    for (size_t s = 0; s < manifest_.shards.size(); ++s) {
      for (size_t p = 0; p < manifest_.shards[s].parts.size(); ++p) {
        const uint64_t bytes = manifest_.shards[s].parts[p].elements() * sizeof(float);
        for (int kind = 0; kind < kinds(); ++kind)
          for (uint64_t at = 0; at < bytes; at += block.size())
            shards_.Read({s, p, kind}, {at, std::min(at + block.size(), bytes)}, block.data());
      }
      VerifySkeleton(s);
    }
    if (manifest_.index_bytes > 0)
      ReadWhole(kIndexName, manifest_.index_bytes, manifest_.index_crc);
  }

 private:
  int kinds() const { return KindsOf(manifest_.weights_only); }

  std::string ReadWhole(const std::string& file, uint64_t size, uint32_t crc) const {
    CheckFileOfStep(fs_, dir_, file, size);
    std::string bytes = fs_.ReadAll(dir_ + "/" + file);
    if (bytes.size() != size || Crc32c(0, bytes.data(), bytes.size()) != crc)
      CorruptStep(dir_, file, "is damaged: its checksum differs");
    return bytes;
  }

  void AddShard(size_t s) {
    for (size_t p = 0; p < manifest_.shards[s].parts.size(); ++p) {
      uint64_t at = 0;
      for (const Range& range : manifest_.shards[s].parts[p].ranges) {
        if (range.begin < range.end) segments_.push_back({range, s, p, at});
        at += range.end - range.begin;
      }
    }
  }

  void VerifySkeleton(size_t s) const {
    const ShardInfo& shard = manifest_.shards[s];
    uint32_t crc = 0;
    std::string bytes;
    for (const Extent& gap : Gaps(shard.Payload(kinds()), shard.file_bytes)) {
      bytes.resize(gap.end - gap.begin);
      shards_.ReadUnchecked(s, gap, bytes.data());
      crc = Crc32c(crc, bytes.data(), bytes.size());
    }
    if (crc != shard.skeleton_crc)
      CorruptStep(dir_, shard.file, "has damaged HDF5 structures: their checksum differs");
  }

  const FileSystem& fs_;
  const std::string dir_;
  const Manifest manifest_;
  ShardReader shards_;
  std::vector<NamedArray> buffers_;
  std::vector<Segment> segments_;  // ascending, gap-free
  std::string header_;
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
  // What a resume would go on from: the highest number may be of a branch that the run has left.
  if (const auto step = FirstUsable(ResumeOrder(fs, CheckpointsDir(fs, dir)))) return step->dir;
  throw UserError("E-CKPT-MISSING", dir, "holds no committed checkpoint",
                  "give a step directory or a run directory with one");
}

}  // namespace

std::string CheckpointsDir(const FileSystem& fs, const std::string& dir) {
  const std::string inside = dir + "/checkpoints";
  return fs.Exists(inside) ? inside : dir;
}

std::unique_ptr<StepReader> StepReader::Open(const FileSystem& fs, const std::string& dir) {
  return std::make_unique<Reader>(fs, Resolve(fs, dir));
}

std::unique_ptr<StepReader> StepReader::FromHeader(const FileSystem& fs,
                                                   const std::string& header) {
  const size_t dir_end = header.find('\n');
  const size_t begin = header.find('\n', dir_end + 1) + 1;
  CONTRAIL_ASSERT(dir_end != std::string::npos && begin > dir_end);
  const uint64_t size = std::stoull(header.substr(dir_end + 1));
  return std::make_unique<Reader>(fs, header.substr(0, dir_end), header.substr(begin, size),
                                  header.substr(begin + size));
}

void VerifyStep(const FileSystem& fs, const std::string& dir) {
  Reader(fs, Resolve(fs, dir)).Verify();
}

}  // namespace contrail::ckpt
