#include "launcher/run_record.h"

#include <gmock/gmock.h>

#include "common/clock.h"
#include "common/error.h"
#include "monitoring/bad_step.h"
#include "tests/launcher/standing_still.h"

namespace contrail::launcher {
namespace {

constexpr double kLong = 30;  // seconds

double Now() { return SystemClock().Monotonic(); }

TEST(RunRecord, AFileSystemThatStandsStillIsNotWaitedFor) {
  const auto gate = std::make_shared<Gate>();
  RecordingFileSystem& disk = *new RecordingFileSystem;  // used by the thread that is left behind
  disk.MakeDir("/run");
  StandingStill& fs = *new StandingStill(disk, gate);
  const double begin = Now();
  {
    RunRecord record(fs, {"/run"});
    record.Append(monitor::Incident{.attempt = 1, .cause = "rank_hung"});
    EXPECT_TRUE(record.NewNotes(1, 4, 1).empty());
    EXPECT_EQ(record.NewestCommitted(), std::nullopt);
  }
  EXPECT_LT(Now() - begin, kLong);
  gate->Open();
}

TEST(RunRecord, BadStepsBecomeIncidentsOnce) {
  RecordingFileSystem disk;
  const monitor::RunDir run = {"/run"};
  disk.MakeDirs(run.Attempt(2));
  RunRecord record(disk, run);
  monitor::AppendBadStep(run, 2, {.step = 7, .what = "loss", .rank = 3, .detail = "NaN"}, disk);
  const auto found = record.NewNotes(2, 4, 1, /*all=*/true);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].cause, "bad_step");
  EXPECT_EQ(found[0].step, 7u);
  EXPECT_EQ(found[0].rank, 3);
  EXPECT_EQ(found[0].action, "skip");
  EXPECT_TRUE(record.NewNotes(2, 4, 2, /*all=*/true).empty());
  EXPECT_TRUE(record.NewNotes(3, 4, 3, /*all=*/true).empty());
}

TEST(RunRecord, AnEvaluationIsStoredOrItsLossIsAnError) {
  RecordingFileSystem disk;
  disk.MakeDir("/run");
  RunRecord record(disk, {"/run"});
  record.WriteEvaluation(20, "{}\n");
  EXPECT_EQ(disk.ReadAll("/run/eval/zero_shot_step_00000020.json"), "{}\n");
  FaultyFileSystem full(disk, 0, /*for_good=*/true);
  RunRecord refused(full, {"/run"});
  EXPECT_THROW(refused.WriteEvaluation(40, "{}\n"), Error);
}

TEST(RunRecord, TheLastOfTwoSummariesStands) {
  RecordingFileSystem disk;
  disk.MakeDir("/run");
  RunRecord record(disk, {"/run"});
  record.WriteMeanwhile({.state = "evaluating", .steps = 20});
  record.Write({.state = "done", .steps = 20});
  EXPECT_EQ(monitor::ReadSummary({"/run"}, disk)->state, "done");
}

TEST(RunRecord, ProbesThatWereLeftBehindAreRemoved) {
  RecordingFileSystem disk;
  disk.MakeDir("/run");
  disk.WriteAtomically("/run/.shared_probe_17_1", "seen?");
  disk.WriteAtomically("/run/config.toml", "");
  {
    RunRecord record(disk, {"/run"});
    record.TidyUp();
  }
  EXPECT_THAT(disk.List("/run"), ::testing::ElementsAre("config.toml"));
}

}  // namespace
}  // namespace contrail::launcher
