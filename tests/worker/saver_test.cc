// When checkpoints are written, and what happens when one cannot be.
#include "worker/saver.h"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include "checkpoint/load.h"
#include "common/recording_file_system.h"
#include "monitoring/run_files.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kElements = 1000;

ckpt::Snapshot SnapshotOf(uint64_t step) {
  ckpt::Snapshot snapshot;
  snapshot.ranges = {{0, kElements}};
  for (auto& data : snapshot.data) data.assign(kElements, static_cast<float>(step));
  return snapshot;
}

class SaverTest : public testing::Test {
 protected:
  SaverTest() : comm_(MakeSingleComm()) { disk_.MakeDirs("/run/checkpoints"); }

  void Make(FileSystem& fs, uint64_t every_steps, uint64_t resumed_step = 0,
            double every_minutes = 0) {
    ckpt::Layout layout;
    layout.tensors = {{"w", {static_cast<int64_t>(kElements)}, 0, kElements}};
    layout.num_elements = kElements;
    saver_ = std::make_unique<Saver>(
        fs, *comm_,
        Saver::Options{.run = {"/run"},
                       .attempt = 2,
                       .every_steps = every_steps,
                       .every_minutes = every_minutes,
                       .keep_last = 10,
                       .resumed_step = resumed_step,
                       .layout = layout,
                       .ranges_of_rank = {{{0, kElements}}}},
        [this](const monitor::CheckpointRecord& record) { told_.push_back(record); });
  }
  static ckpt::RunState StateOf(uint64_t step) {
    ckpt::RunState state;
    state.step = step;
    state.attempt = 2;
    state.model = "test";
    return state;
  }
  // One training step as the trainer does it; `settle` lets background work end first.
  void Step(uint64_t step, bool settle = true) {
    if (settle) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    Pulse pulse;
    saver_->Fill(pulse);
    const Verdict verdict = Exchange(*comm_, pulse);
    saver_->AfterStep(verdict, StateOf(step), [step] { return SnapshotOf(step); });
  }
  void Finish(uint64_t step) {
    saver_->Finish(StateOf(step), [step] { return SnapshotOf(step); });
  }
  std::vector<uint64_t> Steps() const {
    std::vector<uint64_t> steps;
    for (const auto& entry : ckpt::ListSteps(disk_, "/run/checkpoints"))
      steps.push_back(entry.step);
    return steps;
  }

  std::unique_ptr<Comm> comm_;
  RecordingFileSystem disk_;
  std::unique_ptr<Saver> saver_;
  std::vector<monitor::CheckpointRecord> told_;
};

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

}  // namespace
}  // namespace contrail::worker
