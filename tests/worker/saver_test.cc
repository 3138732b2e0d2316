// When checkpoints are written, and what happens when one cannot be.
#include "worker/saver.h"

#include <gmock/gmock.h>

#include <atomic>

#include "checkpoint/newest.h"
#include "common/error.h"
#include "common/pass_through_file_system.h"
#include "monitoring/first_commit.h"
#include "monitoring/run_files.h"
#include "tests/worker/saver_fixture.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(SaverTest, SavesEverySoManyStepsAndAtTheEnd) {
  Make(disk_, 4);
  for (uint64_t step = 1; step <= 10; ++step) Step(step);
  Finish(10);
  EXPECT_THAT(Steps(), ElementsAre(10, 8, 4));
  EXPECT_EQ(saver_->committed_step(), 10u);
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_EQ(told_[0].step, 4u);
  EXPECT_EQ(told_[0].bytes, 3 * kElements * sizeof(float));
  const auto reader = ckpt::StepReader::Open(disk_, "/run/checkpoints/step_00000008");
  float value = 0;
  reader->Read(2, {kElements - 1, kElements}, &value);
  EXPECT_EQ(value, 8.0f);
}

TEST_F(SaverTest, SavesByTheClock) {
  Make(disk_, 0, 0, /*every_minutes=*/0.1 / 60);
  for (uint64_t step = 1; step <= 12; ++step) Step(step);  // 20 ms each
  const size_t saves = Steps().size();
  EXPECT_GE(saves, 1u);
  EXPECT_LE(saves, 4u);
}

TEST_F(SaverTest, TheLastStepIsNotSavedTwice) {
  Make(disk_, 5);
  for (uint64_t step = 1; step <= 5; ++step) Step(step, /*settle=*/false);
  Finish(5);
  EXPECT_THAT(Steps(), ElementsAre(5));
  EXPECT_EQ(told_.size(), 1u);
}

TEST_F(SaverTest, AFinishedRunThatIsResumedWritesNothing) {
  Make(disk_, 5, /*resumed_step=*/7);
  disk_.ClearLog();
  Finish(7);
  EXPECT_TRUE(disk_.log().empty());
}

// Each changing operation of a save fails once: the next step is saved instead, and nothing that
// cannot be read is ever listed.
TEST_F(SaverTest, AFailedSaveIsRepeatedUnderTheNextStepsName) {
  int failed = 0;
  for (uint64_t fail_at = 1; fail_at <= 24; ++fail_at) {
    disk_.RemoveTree("/run");
    disk_.MakeDirs("/run/checkpoints");
    FaultyFileSystem faulty(disk_, fail_at, /*for_good=*/false);
    Make(faulty, 4);
    for (uint64_t step = 1; step <= 7; ++step) Step(step);
    Finish(7);
    failed += faulty.failed();
    EXPECT_EQ(saver_->committed_step(), 7u) << fail_at;
    for (const auto& entry : ckpt::ListSteps(disk_, "/run/checkpoints")) {
      EXPECT_NO_THROW(ckpt::VerifyStep(disk_, entry.dir)) << fail_at;
    }
    saver_.reset();
  }
  EXPECT_EQ(failed, 24);
}

TEST_F(SaverTest, TwoFailuresInARowEndTheJob) {
  FaultyFileSystem faulty(disk_, 1, /*for_good=*/true);
  Make(faulty, 2);
  std::string line;
  uint64_t step = 0;
  try {
    while (++step < 20) Step(step);
  } catch (const AgreedError& error) {
    EXPECT_TRUE(error.speaks());
    EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
    line = error.what();
  }
  EXPECT_THAT(line, HasSubstr("E-CKPT-SAVE"));
  EXPECT_THAT(line, HasSubstr("No space left on device"));
  EXPECT_LT(step, 8u);
  EXPECT_THAT(Steps(), ElementsAre());
}

TEST_F(SaverTest, AtTheEndAFullDiskEndsTheJobToo) {
  FaultyFileSystem faulty(disk_, 3, /*for_good=*/true);
  Make(faulty, 0);
  EXPECT_THROW(Finish(3), AgreedError);
}

TEST_F(SaverTest, AnAttemptThatWasTakenOverDoesNotCommit) {
  Make(disk_, 2);
  monitor::WriteLease({"/run"}, {.attempt = 3, .state = "running"}, disk_);
  std::string line;
  try {
    for (uint64_t step = 1; step <= 10; ++step) Step(step);
  } catch (const AgreedError& error) {
    line = error.what();
  }
  EXPECT_THAT(line, HasSubstr("E-FENCED"));
  EXPECT_THAT(Steps(), ElementsAre());
}

// A lease that cannot be read for a moment: that save fails, the next one is committed.
TEST_F(SaverTest, AnUnreadableLeaseFailsOneSave) {
  FaultyFileSystem sick(disk_);
  sick.FailQuestions("lease.json", EIO, 1);
  Make(sick, 4);
  for (uint64_t step = 1; step <= 7; ++step) Step(step);
  Finish(7);
  EXPECT_THAT(Steps(), testing::Not(testing::Contains(4)));
  EXPECT_THAT(Steps(), testing::Contains(7));
}

TEST_F(SaverTest, ACommitLeavesItsTraces) {
  Make(disk_, 2);
  for (uint64_t step = 1; step <= 5; ++step) Step(step);
  Finish(5);
  const auto newest = ckpt::ReadNewest(disk_, "/run/checkpoints");
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->step, 5u);
  EXPECT_EQ(newest->dir, "step_00000005");
  EXPECT_EQ(newest->attempt, 2u);
  // Each step comes from the one before.
  std::string parent;
  for (const uint64_t step : {2, 4, 5}) {
    const auto reader =
        ckpt::StepReader::Open(disk_, "/run/checkpoints/step_0000000" + std::to_string(step));
    EXPECT_EQ(reader->state().parent, parent);
    parent = reader->lineage();
  }
  EXPECT_EQ(newest->lineage, parent);
  EXPECT_EQ(monitor::AttemptThatCommitted({"/run"}, disk_), 2);
}

// A run that went back to below the steps of an older branch keeps what it commits.
TEST_F(SaverTest, WhatWasJustCommittedIsNeverPruned) {
  Make(disk_, 2);
  for (const uint64_t step : {30, 40, 46}) Finish(step);
  Saver::Options options = OptionsOf(0);
  options.writer.attempt = 3;
  options.keep_last = 2;
  Make(disk_, options);
  Finish(10);
  EXPECT_THAT(Steps(), testing::Contains(10));
  Finish(12);
  EXPECT_THAT(Steps(), ElementsAre(12, 10));
  Finish(14);
  EXPECT_THAT(Steps(), ElementsAre(14, 12));
}

// Cannot write first_commit.json, once.
class NoFirstCommit : public PassThroughFileSystem {
 public:
  explicit NoFirstCommit(FileSystem& inner) : PassThroughFileSystem(inner) {}

 private:
  void Before(Act act, const std::string& path, const char* doing) const override {
    if (act != Act::kChange || path.find("first_commit") == std::string::npos) return;
    if (!failed_.exchange(true)) throw IoError(EIO, path, std::string("could not ") + doing);
  }
  mutable std::atomic<bool> failed_{false};
};

// first_commit.json could not be written with the first commit: the next one writes it.
TEST_F(SaverTest, TheFirstCommitIsToldByALaterOneWhereThatFailed) {
  NoFirstCommit failing(disk_);
  Make(failing, 2);
  uint64_t step = 1;
  StepUntil(&step, [&] { return told_.size() == 1; });
  EXPECT_EQ(monitor::AttemptThatCommitted({"/run"}, disk_), std::nullopt);
  StepUntil(&step, [&] { return told_.size() == 2; });
  EXPECT_EQ(monitor::AttemptThatCommitted({"/run"}, disk_), 2);
  saver_.reset();
}

}  // namespace
}  // namespace contrail::worker
