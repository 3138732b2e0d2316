// Saves that stand still in the file system: given up, written anew, waited for by nobody.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "checkpoint/newest.h"
#include "tests/worker/hanging_file_system.h"
#include "tests/worker/saver_fixture.h"
#include "worker/agree.h"
#include "worker/left_behind.h"

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class StalledSave : public SaverTest {
 protected:
  void Make(uint64_t every_steps, double stall_seconds = 0.3) {
    Saver::Options options = OptionsOf(every_steps);
    options.stall_seconds = stall_seconds;
    options.moved = [this](uint64_t amount) { moved_ += amount; };
    SaverTest::Make(fs_, options);
  }
  // After the thread that hung has come back and gone.
  void ExpectNothingNewIn(const std::vector<std::string>& names) {
    fs_.Release();
    fs_.WaitUntilNoneHangs();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // it would have to do it now
    EXPECT_EQ(disk_.List("/run/checkpoints"), names);
  }

  HangingFileSystem& fs_ = *new HangingFileSystem(disk_);  // as disk_
  std::atomic<uint64_t> moved_{0};
};

TEST_F(StalledSave, APartIsGivenUpAndWrittenAnewWhileTrainingGoesOn) {
  fs_.Hang("fsync", "shard_00000.h5");
  Make(2);
  uint64_t step = 1;
  testing::internal::CaptureStderr();
  StepUntil(&step, [&] { return !told_.empty(); });
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("E-CKPT-STALLED"));
  EXPECT_THAT(said, HasSubstr("rank 0 on "));
  EXPECT_EQ(said.find("E-CKPT-STALLED"), said.rfind("E-CKPT-STALLED")) << said;
  EXPECT_GT(told_[0].step, 2u);
  EXPECT_GE(moved_, 3 * kElements * sizeof(float));
  EXPECT_TRUE(ThreadsLeftBehind());
  for (const auto& entry : ckpt::ListSteps(disk_, "/run/checkpoints")) {
    EXPECT_NO_THROW(ckpt::VerifyStep(disk_, entry.dir));
  }
  saver_.reset();
}

TEST_F(StalledSave, TheLastSaveIsNotLost) {
  fs_.Hang("fsync", "shard_00000.h5");
  Make(0);
  Finish(5);
  EXPECT_EQ(saver_->committed_step(), 5u);
  EXPECT_THAT(Steps(), ElementsAre(5));
  saver_.reset();
  ExpectNothingNewIn({"newest.json", "step_00000005"});
}

TEST_F(StalledSave, ACommitThatComesBackLatePublishesNothing) {
  for (const char* part : {"COMMIT", "index.h5", "newest.json"}) {
    SCOPED_TRACE(part);
    disk_.RemoveTree("/run");
    disk_.MakeDirs("/run/checkpoints");
    fs_.Hang("fsync", part);
    Make(2);
    uint64_t step = 1;
    told_.clear();
    StepUntil(&step, [&] { return !told_.empty(); });
    Finish(step);
    const auto newest = ckpt::ReadNewest(disk_, "/run/checkpoints");
    ASSERT_TRUE(newest);
    EXPECT_EQ(newest->step, step);
    EXPECT_EQ(ckpt::ResumeOrder(disk_, "/run/checkpoints").front().step, step);
    const auto names = disk_.List("/run/checkpoints");
    saver_.reset();
    ExpectNothingNewIn(names);
    EXPECT_EQ(ckpt::ReadNewest(disk_, "/run/checkpoints")->step, step);
  }
}

TEST_F(StalledSave, TidyingUpThatHangsTakesNothingBack) {
  Saver::Options options = OptionsOf(0);
  options.keep_last = 1;
  options.stall_seconds = 0.3;
  SaverTest::Make(fs_, options);
  Finish(2);
  fs_.Hang("rename", ".deleting");
  Finish(4);
  Finish(6);
  EXPECT_EQ(saver_->committed_step(), 6u);
  EXPECT_THAT(told_, testing::SizeIs(3));
  fs_.Release();
}

// A save that failed is removed before the next one, and that hangs: training goes on.
TEST_F(StalledSave, RemovingAFailedSaveThatHangsIsLeft) {
  fs_.FailOnce("fsync", "shard_00000.h5");
  fs_.Hang("remove", "shard_00000.h5");
  Make(2);
  uint64_t step = 1;
  testing::internal::CaptureStderr();
  StepUntil(&step, [&] { return !told_.empty(); });
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("removing /run/checkpoints/step_00000002.tmp-2-aa does not come"));
  Finish(step);
  EXPECT_THAT(Steps(), testing::Contains(step));
  saver_.reset();
  const auto names = disk_.List("/run/checkpoints");
  ExpectNothingNewIn(names);
}

TEST_F(StalledSave, TwoInARowEndTheJob) {
  fs_.Hang("fsync", "shard_00000.h5");
  Make(0);
  std::string line;
  std::thread again([&] {
    fs_.WaitUntilItHangs();
    fs_.Hang("fsync", "shard_00000.h5");  // the next try hangs as well
  });
  try {
    Finish(5);
  } catch (const AgreedError& error) {
    line = error.what();
  }
  again.join();
  EXPECT_THAT(line, HasSubstr("E-CKPT-SAVE"));
  EXPECT_THAT(line, HasSubstr("E-CKPT-STALLED"));
  EXPECT_THAT(line, HasSubstr("rank 0 on "));
  saver_.reset();
  fs_.Release();
}

TEST_F(StalledSave, NothingWaitsForItAtTheEnd) {
  fs_.Hang("fsync", "shard_00000.h5");
  Make(1, /*stall_seconds=*/1000);
  Step(1);
  fs_.WaitUntilItHangs();
  saver_.reset();
  fs_.Release();
}

}  // namespace
}  // namespace contrail::worker
