#include "monitoring/store/run_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <limits>
#include <set>

#include "monitoring/wire/codec.h"
#include "tests/monitoring/testing.h"

namespace contrail::monitor {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The losses of attempt a are shifted by a * 1000, so that a point tells where it comes from.
void RunAttempt(const RunDir& run, int attempt, uint64_t resumed, uint64_t last) {
  const auto recorder = Recorder::Open({.run = run,
                                        .attempt = attempt,
                                        .resumed_step = resumed,
                                        .total_steps = 100,
                                        .samples_per_epoch = 60000});
  for (uint64_t step = resumed + 1; step <= last; ++step) {
    recorder->Record(MakeStep(step, 4, 1000.0 * attempt));
  }
}

int AttemptOf(const StepRow& row) { return static_cast<int>(row.record.loss) / 1000; }

std::vector<int> AttemptsOfCommitted(const RunStore& store) {
  std::vector<int> attempts;
  uint64_t expected = 1;
  for (const StepRow* row : store.committed()) {
    EXPECT_EQ(row->record.step, expected++) << "every step once, in order";
    attempts.push_back(AttemptOf(*row));
  }
  return attempts;
}

TEST(RunStoreTest, ThreeAttemptsMergeIntoWhatTheModelWentThrough) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 7);  // checkpoint at 4, died after 7
  RunAttempt(scratch.run(), 2, 4, 6);  // died before it was as far
  RunAttempt(scratch.run(), 3, 4, 9);
  const RunStore store(scratch.run());
  EXPECT_THAT(AttemptsOfCommitted(store), ElementsAre(1, 1, 1, 1, 3, 3, 3, 3, 3));
  std::vector<std::pair<int, uint64_t>> aside;
  for (const StepRow* row : store.superseded()) {
    aside.emplace_back(AttemptOf(*row), row->record.step);
  }
  EXPECT_THAT(aside, testing::UnorderedElementsAre(testing::Pair(1, 5), testing::Pair(1, 6),
                                                   testing::Pair(1, 7), testing::Pair(2, 5),
                                                   testing::Pair(2, 6)));
  EXPECT_EQ(store.total_steps(), 100u);
  EXPECT_EQ(store.samples_per_epoch(), 60000u);
  EXPECT_TRUE(store.attempts().rbegin()->second.closed);
}

TEST(RunStoreTest, AnAttemptThatTrainedNothingStillUndoesTheStepsAfterItsCheckpoint) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 7);
  RunAttempt(scratch.run(), 2, 4, 4);
  EXPECT_THAT(AttemptsOfCommitted(RunStore(scratch.run())), ElementsAre(1, 1, 1, 1));
}

TEST(RunStoreTest, RollingBackFurtherUndoesSeveralAttempts) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 5);
  RunAttempt(scratch.run(), 2, 4, 8);
  RunAttempt(scratch.run(), 3, 2, 3);
  EXPECT_THAT(AttemptsOfCommitted(RunStore(scratch.run())), ElementsAre(1, 1, 3));
}

TEST(RunStoreTest, WorkersStartedTwiceUnderOneAttemptNumberAreTwoAttempts) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 6);
  RunAttempt(scratch.run(), 1, 3, 5);
  const RunStore store(scratch.run());
  EXPECT_EQ(AttemptsOfCommitted(store).size(), 5u);
  EXPECT_EQ(store.superseded().size(), 3u);
}

TEST(RunStoreTest, SeriesAreExact) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 200);
  const RunStore store(scratch.run());
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, double (*)(const StepRecord&)>>{
           {"loss", [](const StepRecord& r) { return r.loss; }},
           {"lr", [](const StepRecord& r) { return r.lr; }},
           {"grad_norm", [](const StepRecord& r) { return r.grad_norm; }},
           {"logit_scale", [](const StepRecord& r) { return r.logit_scale; }},
           {"wall_time", [](const StepRecord& r) { return r.wall_time; }}}) {
    const auto points = store.Series(*FindMetric(name));
    ASSERT_EQ(points.size(), 200u) << name;
    for (const SeriesPoint& point : points) {
      ASSERT_EQ(point.value, value(MakeStep(point.step, 4, 1000))) << name;
    }
  }
}

TEST(RunStoreTest, WhatWasNotMeasuredIsLeftOutButALossThatBecameNanIsShown) {
  ScratchRun scratch;
  {
    const auto recorder = Recorder::Open({.run = scratch.run()});
    StepRecord record = MakeStep(1, 0);
    record.loss = record.accuracy_image_to_text = std::numeric_limits<double>::quiet_NaN();
    recorder->Record(record);
  }
  const RunStore store(scratch.run());
  EXPECT_EQ(store.Series(*FindMetric("loss")).size(), 1u);
  EXPECT_THAT(store.Series(*FindMetric("accuracy_image_to_text")), IsEmpty());
  EXPECT_THAT(store.Series(*FindMetric("phase_seconds/forward/p50")), IsEmpty());
}

TEST(RunStoreTest, CheckpointsMergeAndHaveSeries) {
  ScratchRun scratch;
  {
    const auto recorder = Recorder::Open({.run = scratch.run()});
    recorder->Record(CheckpointRecord{.step = 10, .write_seconds = 0.1, .bytes = 1});
    recorder->Record(CheckpointRecord{.step = 20, .write_seconds = 0.2, .bytes = 2});
  }
  {
    const auto recorder = Recorder::Open({.run = scratch.run(), .attempt = 2, .resumed_step = 10});
    recorder->Record(CheckpointRecord{.step = 20, .write_seconds = 0.3, .bytes = 3});
  }
  const RunStore store(scratch.run());
  const auto points = store.Series(*FindMetric("checkpoint/write_seconds"));
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0].value, 0.1);
  EXPECT_EQ(points[1].value, 0.3);
}

TEST(RunStoreTest, NothingThereYetIsAnEmptyRun) {
  ScratchRun scratch;
  RunStore store(scratch.run());
  EXPECT_THAT(store.committed(), IsEmpty());
  PosixFileSystem().MakeDir(scratch.run().Telemetry());
  WriteFile(scratch.run().Telemetry() + "/notes.txt", "not ours");
  WriteFile(scratch.run().Telemetry() + "/events.out.tfevents.1.attempt_1.node_0", "");
  store.Refresh();
  EXPECT_THAT(store.committed(), IsEmpty());
  RunAttempt(scratch.run(), 1, 0, 3);
  store.Refresh();
  EXPECT_EQ(store.committed().size(), 3u);
}

TEST(RunStoreTest, FollowsAFileThatGrowsByteByByte) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 6);
  const std::string name = PosixFileSystem().List(scratch.run().Telemetry())[0];
  const std::string bytes = ReadFile(scratch.run().Telemetry() + "/" + name);
  ScratchRun copy;
  PosixFileSystem().MakeDir(copy.run().Telemetry());
  RunStore store(copy.run());
  size_t seen = 0;
  for (size_t size = 0; size <= bytes.size(); size += 13) {
    WriteFile(copy.run().Telemetry() + "/" + name, bytes.substr(0, size));
    store.Refresh();
    ASSERT_GE(store.committed().size(), seen);
    seen = store.committed().size();
    for (const auto& file : store.files()) ASSERT_EQ(file.problem, "") << size;
  }
  WriteFile(copy.run().Telemetry() + "/" + name, bytes);
  store.Refresh();
  EXPECT_EQ(AttemptsOfCommitted(store).size(), 6u);
}

TEST(RunStoreTest, ATornSecondAttemptUndoesNothingUntilItsHeaderIsThere) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 6);
  RunAttempt(scratch.run(), 2, 3, 4);
  const std::string path =
      scratch.run().Telemetry() + "/" + PosixFileSystem().List(scratch.run().Telemetry())[1];
  const std::string bytes = ReadFile(path);
  for (size_t size = 0; size <= bytes.size(); ++size) {
    WriteFile(path, bytes.substr(0, size));
    const auto attempts = AttemptsOfCommitted(RunStore(scratch.run()));
    if (attempts.size() == 6) {
      ASSERT_THAT(attempts, ElementsAre(1, 1, 1, 1, 1, 1)) << size;
    } else if (attempts.size() == 3) {
      ASSERT_THAT(attempts, ElementsAre(1, 1, 1)) << size;
    } else {
      ASSERT_THAT(attempts, ElementsAre(1, 1, 1, 2)) << size;
    }
  }
  EXPECT_EQ(AttemptsOfCommitted(RunStore(scratch.run())).size(), 4u);
}

TEST(RunStoreTest, CorruptionIsReportedWithItsPlaceAndHealsIfThePageArrivesLate) {
  ScratchRun scratch;
  RunAttempt(scratch.run(), 1, 0, 6);
  const std::string path =
      scratch.run().Telemetry() + "/" + PosixFileSystem().List(scratch.run().Telemetry())[0];
  const std::string bytes = ReadFile(path);
  const FrameScan scan = ScanFrames(bytes);
  const auto at = static_cast<size_t>(scan.payloads[3].data() - bytes.data());  // inside step 2
  std::string damaged = bytes;
  damaged[at + 5] = static_cast<char>(~damaged[at + 5]);
  WriteFile(path, damaged);
  RunStore store(scratch.run());
  EXPECT_EQ(store.committed().size(), 1u);
  ASSERT_EQ(store.files().size(), 1u);
  EXPECT_EQ(store.files()[0].problem, "bad checksum at byte " + std::to_string(at - 12));
  WriteFile(path, bytes);
  store.Refresh();
  EXPECT_EQ(store.committed().size(), 6u);
  EXPECT_EQ(store.files()[0].problem, "");
}

TEST(RunStoreTest, LatenessNamesTheRankThatWaitedLeast) {
  // MakeStep delays rank 2 by 40 ms before the gather; its step time is everybody's.
  const StepRow row = Summarize(MakeStep(1, 4));
  EXPECT_EQ(row.gather_late_rank, 2);
  EXPECT_NEAR(row.gather_lateness, 0.040, 1e-6);
  EXPECT_EQ(row.reduce_late_rank, -1) << "all waited the same";
  EXPECT_EQ(row.phases[1].max_rank, 2);
  EXPECT_NEAR(row.phases[1].max, 0.190, 1e-6);
  EXPECT_NEAR(row.phases[1].p50, 0.151, 1e-6);
}

TEST(MetricsTest, NamesAreUniqueAndEveryMetricIsExplained) {
  std::set<std::string> names;
  for (const Metric& metric : Metrics()) {
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name;
    EXPECT_FALSE(metric.help.empty()) << metric.name;
    EXPECT_FALSE(metric.label.empty()) << metric.name;
    EXPECT_NE(metric.of_step == nullptr, metric.of_checkpoint == nullptr) << metric.name;
    EXPECT_EQ(FindMetric(metric.name), &metric);
  }
  EXPECT_EQ(FindMetric("los"), nullptr);
  for (const char* name : {"loss", "lr", "logit_scale", "grad_norm", "samples_per_second"}) {
    EXPECT_NE(FindMetric(name), nullptr) << name;
  }
}

}  // namespace
}  // namespace contrail::monitor
