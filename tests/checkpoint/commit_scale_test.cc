// The root's part of a save of 1,024 ranks: what all of them may have to wait for at the end.
#include <gtest/gtest.h>
#include <time.h>

#include <cstdio>

#include "checkpoint/index.h"
#include "checkpoint/load.h"
#include "checkpoint/save.h"
#include "common/recording_file_system.h"
#include "tests/checkpoint/sharded.h"

namespace contrail::ckpt {
namespace {

// Knows shards by their sizes alone.
class Shards : public RecordingFileSystem {
 public:
  explicit Shards(const Manifest& manifest) : manifest_(manifest) {}
  uint64_t FileSize(const std::string& path) const override {
    for (const ShardInfo& shard : manifest_.shards)
      if (path.ends_with("/" + shard.file)) return shard.file_bytes;
    return RecordingFileSystem::FileSize(path);
  }

 private:
  const Manifest& manifest_;
};

double ProcessorSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(CommitScale, AThousandRanksInTwoSeconds) {
  const Manifest manifest = ManifestOfZeros(BigLayout(), 1024);
  SavePlan plan;
  plan.checkpoints_dir = "/run/checkpoints";
  plan.state.step = 7;
  plan.state.model = "big";
  plan.layout = manifest.layout;
  plan.topology = {0, 1024, {}};
  std::vector<std::string> reports;
  for (const ShardInfo& shard : manifest.shards) {
    for (const RankPart& part : shard.parts) {
      plan.topology.node_of_rank.push_back(shard.node);
      plan.ranges_of_rank.push_back(part.ranges);
      RankReport report;
      report.step = 7;
      report.node = shard.node;
      report.file_bytes = shard.file_bytes;
      report.part = part;
      reports.push_back(EncodeReport(report));
    }
  }
  EXPECT_GT(PiecesOfIndex(manifest), kMostPiecesInCommit);
  Shards fs(manifest);
  fs.MakeDirs(TemporaryDir(plan));
  const double start = ProcessorSeconds();
  const std::string dir = CommitStep(fs, plan, reports);
  const double seconds = ProcessorSeconds() - start;
  const double opening = ProcessorSeconds();
  const auto reader = StepReader::Open(fs, dir);
  std::printf(
      "[ commit   ] 1,024 ranks: %.3f s of processor time, COMMIT of %.1f MB, opened in %.3f s\n",
      seconds, static_cast<double>(fs.ReadAll(dir + "/COMMIT").size()) / 1e6,
      ProcessorSeconds() - opening);
  EXPECT_LE(seconds, 2.0);
  EXPECT_EQ(reader->state().step, 7u);
}

}  // namespace
}  // namespace contrail::ckpt
