// What a node reads when a run goes on with another number of ranks: little more than it needs.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <set>

#include "checkpoint/load.h"
#include "common/hash.h"
#include "common/recording_file_system.h"
#include "tests/checkpoint/sharded.h"

namespace contrail::ckpt {
namespace {

constexpr int kRanksPerNode = 8;
constexpr const char* kStep = "/step_00000001";

// Holds one step of zeros, which takes no memory, and counts what is read of its shards.
class ZeroStep : public RecordingFileSystem {
 public:
  explicit ZeroStep(const Manifest& manifest) : manifest_(manifest) {
    MakeDir(kStep);
    WriteAtomically(std::string(kStep) + "/COMMIT", EncodeManifest(manifest));
  }

  uint64_t FileSize(const std::string& path) const override {
    const ShardInfo* shard = ShardAt(path);
    return shard == nullptr ? RecordingFileSystem::FileSize(path) : shard->file_bytes;
  }
  std::unique_ptr<ReadableFile> OpenToRead(const std::string& path) const override {
    const ShardInfo* shard = ShardAt(path);
    if (shard == nullptr) return RecordingFileSystem::OpenToRead(path);
    ++opens;
    return std::make_unique<Shard>(*shard, *this);
  }

  mutable std::atomic<uint64_t> bytes_read{0}, reads{0}, opens{0};

 private:
  class Shard : public ReadableFile {
   public:
    Shard(const ShardInfo& info, const ZeroStep& owner) : info_(info), owner_(owner) {}
    uint64_t size() const override { return info_.file_bytes; }
    void PRead(void* data, size_t size, uint64_t offset) const override {
      owner_.bytes_read += size;
      ++owner_.reads;
      std::memset(data, 0, size);
      for (const RankPart& part : info_.parts) {
        const uint64_t bytes = part.elements() * sizeof(float);
        const uint64_t pages = (bytes + kPageBytes - 1) / kPageBytes;
        const uint64_t end = part.page_crcs_offset + kNumKinds * pages * sizeof(uint32_t);
        if (offset < part.page_crcs_offset || offset + size > end) continue;
        uint64_t page = (offset - part.page_crcs_offset) / sizeof(uint32_t);
        for (uint64_t at = 0; at < size; at += sizeof(uint32_t), ++page) {
          const bool last = page % pages == pages - 1 && bytes % kPageBytes > 0;
          const std::string zeros(last ? bytes % kPageBytes : kPageBytes, '\0');
          const uint32_t crc = Crc32c(0, zeros.data(), zeros.size());
          std::memcpy(static_cast<char*>(data) + at, &crc, sizeof crc);
        }
        return;
      }
    }

   private:
    const ShardInfo& info_;
    const ZeroStep& owner_;
  };

  const ShardInfo* ShardAt(const std::string& path) const {
    for (const ShardInfo& shard : manifest_.shards)
      if (path == std::string(kStep) + "/" + shard.file) return &shard;
    return nullptr;
  }

  const Manifest& manifest_;
};

struct Change {
  int from, to;
};

class Elastic : public testing::TestWithParam<Change> {};

TEST_P(Elastic, ANodeReadsLittleMoreThanItNeeds) {
  const auto [from, to] = GetParam();
  const Layout layout = BigLayout();
  const Manifest manifest = ManifestOfZeros(layout, from);
  ASSERT_EQ(CheckManifest(manifest), "");
  const ZeroStep fs(manifest);
  const std::string header = StepReader::Open(fs, kStep)->header();
  EXPECT_EQ(fs.bytes_read.load(), 0u);
  const auto ranges = SlicesOf(layout, to);
  const int nodes = (to + kRanksPerNode - 1) / kRanksPerNode;
  // The first, one in the middle and the last; kinds are laid out alike, so one of them is read.
  for (const int node : std::set<int>{0, nodes / 2, nodes - 1}) {
    fs.bytes_read = fs.reads = fs.opens = 0;
    uint64_t needed = 0;
    const int end = std::min(to, (node + 1) * kRanksPerNode);
    for (int rank = node * kRanksPerNode; rank < end; ++rank) {
      const auto reader = StepReader::FromHeader(fs, header);
      for (const Range& range : ranges[rank]) {
        std::vector<float> values(range.end - range.begin, 1);
        reader->Read(0, range, values.data());
        needed += values.size() * sizeof(float);
        ASSERT_EQ(values.front(), 0);
        ASSERT_EQ(values.back(), 0);
      }
    }
    const double ratio = static_cast<double>(fs.bytes_read) / static_cast<double>(needed);
    std::printf(
        "[ elastic  ] %d -> %d ranks, node %d: needs %.1f MB, reads %.1f MB in %llu reads of %llu "
        "open files: %.3f\n",
        from, to, node, static_cast<double>(needed) / 1e6, static_cast<double>(fs.bytes_read) / 1e6,
        static_cast<unsigned long long>(fs.reads.load()),
        static_cast<unsigned long long>(fs.opens.load()), ratio);
    EXPECT_LE(ratio, 1.1);
    EXPECT_LE(fs.opens.load(), static_cast<uint64_t>(end) * manifest.shards.size());
  }
}

INSTANTIATE_TEST_SUITE_P(RankCounts, Elastic,
                         testing::Values(Change{4, 64}, Change{4, 592}, Change{592, 1},
                                         Change{592, 592}, Change{592, 64}, Change{64, 592},
                                         Change{592, 600}),
                         [](const auto& change) {
                           return std::to_string(change.param.from) + "to" +
                                  std::to_string(change.param.to);
                         });

}  // namespace
}  // namespace contrail::ckpt
