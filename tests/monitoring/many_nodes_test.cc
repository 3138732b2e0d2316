// Telemetry of a job of many nodes: written once for what is the same everywhere, by each node for
// its own ranks, and shown as if one file held it all.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "monitoring/store/rank_times.h"
#include "monitoring/store/run_store.h"
#include "monitoring/viewer/json.h"
#include "monitoring/viewer/status.h"
#include "monitoring/wire/codec.h"
#include "tests/monitoring/testing.h"

namespace contrail::monitor {
namespace {

// Ranks of a node that are no neighbours in number: rank r runs on node r % nodes.
std::vector<int> RanksOf(int node, int nodes, int ranks) {
  std::vector<int> own;
  for (int rank = node; rank < ranks; rank += nodes) own.push_back(rank);
  return own;
}

std::vector<std::unique_ptr<Recorder>> OpenAll(const RunDir& run, int attempt, uint64_t resumed,
                                               int nodes, int ranks) {
  std::vector<std::unique_ptr<Recorder>> recorders;
  for (int node = 0; node < nodes; ++node) {
    recorders.push_back(
        Recorder::Open({.run = run,
                        .attempt = attempt,
                        .node = node,
                        .ranks = nodes > 1 ? RanksOf(node, nodes, ranks) : std::vector<int>(),
                        .resumed_step = resumed,
                        .config_toml = std::string(3000, '#'),
                        .total_steps = 100}));
  }
  return recorders;
}

// Times with all their digits, another in every phase, step and rank.
StepRecord Step(uint64_t step, int ranks) {
  StepRecord record = MakeStep(step, ranks);
  for (int rank = 0; rank < ranks; ++rank) {
    StepTimes& times = record.ranks[static_cast<size_t>(rank)];
    times.forward += std::sin(static_cast<float>(step * 31 + static_cast<uint64_t>(rank))) / 97;
    times.grad_reduce += std::cos(static_cast<float>(step + 7 * static_cast<uint64_t>(rank))) / 113;
    times.checkpoint_stall = step % 4 == 0 ? 0.5f : 0.0f;
  }
  record.late = {{.rank = 2, .operation = Operation::kAllGather, .ordinal = 1, .seconds = 0.04f}};
  return record;
}

void Train(const RunDir& run, int attempt, uint64_t resumed, uint64_t last, int nodes, int ranks) {
  const auto recorders = OpenAll(run, attempt, resumed, nodes, ranks);
  for (uint64_t step = resumed + 1; step <= last; ++step) {
    for (const auto& recorder : recorders) recorder->Record(Step(step, ranks));
  }
}

// Two attempts: the second goes on from step 9 of 14.
void TrainTwice(const RunDir& run, int nodes) {
  Train(run, 1, 0, 14, nodes, 6);
  Train(run, 2, 9, 30, nodes, 6);
}

TEST(ManyNodesTest, TheViewerShowsWhatOneFileWithAllRanksShows) {
  ScratchRun one, many;
  TrainTwice(one.run(), 1);
  TrainTwice(many.run(), 3);
  const RunStore a(one.run()), b(many.run());
  ASSERT_EQ(a.committed().size(), 30u);
  for (const Metric& metric : Metrics()) {
    const auto left = a.Series(metric);
    const auto right = b.Series(metric);
    ASSERT_EQ(left.size(), right.size()) << metric.name;
    for (size_t i = 0; i < left.size(); ++i) {
      ASSERT_EQ(left[i].step, right[i].step) << metric.name;
      ASSERT_EQ(left[i].value, right[i].value) << metric.name;
    }
  }
  const auto shown = [](const RunDir& run, const RunStore& store) {
    auto json = nlohmann::json::parse(RenderJson(ReadStatus(run, store)));
    for (const char* key : {"run", "name", "elapsed_seconds", "silent_seconds", "telemetry"}) {
      json.erase(key);  // of the folder, or of the clock
    }
    json["throughput"].erase("goodput");
    return json;
  };
  EXPECT_EQ(shown(one.run(), a), shown(many.run(), b));
  EXPECT_FALSE(shown(many.run(), b)["stragglers"].empty());
}

TEST(ManyNodesTest, OneFileAJobInTheTelemetryFolderAndOneANodeBesideTheAttempt) {
  ScratchRun scratch;
  TrainTwice(scratch.run(), 3);
  EXPECT_THAT(PosixFileSystem().List(scratch.run().Telemetry()),
              testing::ElementsAre(testing::EndsWith(".attempt_1.node_0"),
                                   testing::EndsWith(".attempt_2.node_0")));
  const auto nodes = PosixFileSystem().List(scratch.run().Attempt(2));
  ASSERT_EQ(nodes.size(), 2u);
  for (const std::string& name : nodes) {
    EXPECT_THAT(name, testing::MatchesRegex("rank_times\\.[0-9]+\\.node_[12]"));
    const std::string bytes = ReadFile(scratch.run().Attempt(2) + "/" + name);
    EXPECT_EQ(bytes.find("###"), std::string::npos) << "no copy of the config";
    EXPECT_EQ(bytes.find("loss"), std::string::npos) << "no scalars";
    for (const std::string_view payload : ScanFrames(bytes).payloads) {
      const auto event = DecodeEvent(payload);
      if (event->header) {
        EXPECT_EQ(event->header->ranks, RanksOf(event->header->node, 3, 6));
      }
      if (!event->step_record) continue;
      EXPECT_EQ(event->step_record->ranks.size(), 2u);
      EXPECT_EQ(event->step_record->loss, 0);
      EXPECT_FALSE(event->step_record->over_ranks);
    }
  }
}

TEST(ManyNodesTest, AStartInTheSameSecondTakesANameOfItsOwn) {
  ScratchRun scratch;
  for (int start = 0; start < 3; ++start) {
    Recorder::Open({.run = scratch.run(), .node = 1, .ranks = {1}}).reset();
  }
  EXPECT_EQ(PosixFileSystem().List(scratch.run().Attempt(1)).size(), 3u);
}

TEST(ManyNodesTest, EveryRanksTimesAreKeptExactly) {
  ScratchRun one, many;
  TrainTwice(one.run(), 1);
  TrainTwice(many.run(), 3);
  const RunStore a(one.run()), b(many.run());
  for (int rank = 0; rank < 6; ++rank) {
    const auto name = ParseRankSeries("phase_seconds/forward/rank_" + std::to_string(rank));
    ASSERT_TRUE(name);
    for (const auto& points : {RankSeries(one.run(), a, *name), RankSeries(many.run(), b, *name)}) {
      ASSERT_EQ(points.size(), 30u) << rank;
      for (const SeriesPoint& point : points) {
        const StepRecord record = Step(point.step, 6);
        ASSERT_EQ(point.value,
                  static_cast<double>(record.ranks[static_cast<size_t>(rank)].forward));
      }
    }
  }
  EXPECT_TRUE(RankSeries(many.run(), b, *ParseRankSeries("phase_seconds/total/rank_6")).empty());
  for (const char* name :
       {"phase_seconds/forward/p50", "phase_seconds/forward/rank_", "phase_seconds/forward/rank_1x",
        "phase_seconds/forwar/rank_1", "phase_seconds/forward/rank_-1"}) {
    EXPECT_FALSE(ParseRankSeries(name)) << name;
  }
}

// What older programs left: every node's file holds all ranks, beside the job's.
TEST(ManyNodesTest, RunsOfOlderProgramsAreReadAsBefore) {
  ScratchRun scratch;
  Train(scratch.run(), 1, 0, 5, 1, 6);
  const std::string name = PosixFileSystem().List(scratch.run().Telemetry())[0];
  const std::string bytes = ReadFile(scratch.run().Telemetry() + "/" + name);
  std::string copy;  // a header of node 1, and a step that node 0 lost
  AppendFrame(copy, EncodeEvent({.header = FileHeader{.attempt = 1, .node = 1}}));
  for (const uint64_t step : {5, 6}) {
    StepRecord record = Step(step, 6);
    if (step == 5) record.loss = -1;
    AppendFrame(copy, EncodeEvent({.step = step, .step_record = record}));
  }
  WriteFile(scratch.run().Telemetry() + "/records.2000000000.attempt_1.node_1", copy);
  const RunStore store(scratch.run());
  ASSERT_EQ(store.committed().size(), 6u);
  EXPECT_EQ(store.committed()[4]->record.loss, Step(5, 6).loss) << "node 0's counts";
  EXPECT_EQ(store.committed()[5]->phases[1].max_rank, Summarize(Step(6, 6)).phases[1].max_rank);
}

uint64_t BytesIn(const std::string& folder) {
  uint64_t bytes = 0;
  for (const std::string& name : PosixFileSystem().List(folder)) {
    bytes += PosixFileSystem().FileSize(folder + "/" + name);
  }
  return bytes;
}

TEST(ManyNodesTest, BytesAStepOf592RanksOn148Nodes) {
  constexpr int kNodes = 148, kRanks = 592;
  constexpr uint64_t kSteps = 20;
  std::string copy;  // as every node wrote it before
  for (uint64_t step = 1; step <= kSteps; ++step) {
    const StepRecord record = Step(step, kRanks);
    AppendFrame(copy, EncodeEvent({.wall_time = 1, .step = step, .step_record = record}));
  }
  const uint64_t before = kNodes * copy.size() / kSteps;

  ScratchRun scratch;
  const auto job = Recorder::Open({.run = scratch.run(), .node = 0, .ranks = {0, 1, 2, 3}});
  const auto node = Recorder::Open({.run = scratch.run(), .node = 1, .ranks = {4, 5, 6, 7}});
  const auto bytes = [&] {
    job->Flush(10);
    node->Flush(10);
    return BytesIn(scratch.run().Telemetry()) + (kNodes - 1) * BytesIn(scratch.run().Attempt(1));
  };
  const uint64_t opening = bytes();
  for (uint64_t step = 1; step <= kSteps; ++step) {
    job->Record(Step(step, kRanks));
    node->Record(Step(step, kRanks));
  }
  const uint64_t after = (bytes() - opening) / kSteps;
  std::printf("a step of 592 ranks on 148 nodes: %llu bytes before, %llu now\n",
              static_cast<unsigned long long>(before), static_cast<unsigned long long>(after));
  EXPECT_GT(before, 3'000'000u);
  EXPECT_LT(after, 40'000u);
}

}  // namespace
}  // namespace contrail::monitor
