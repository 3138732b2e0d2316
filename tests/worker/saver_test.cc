// When checkpoints are written, and what happens when one cannot be.
#include "worker/saver.h"

#include <gmock/gmock.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "checkpoint/load.h"
#include "checkpoint/newest.h"
#include "checkpoint/prune.h"
#include "common/clock.h"
#include "common/recording_file_system.h"
#include "monitoring/first_commit.h"
#include "monitoring/run_files.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kElements = 1000;

std::shared_ptr<const ckpt::Snapshot> SnapshotOf(uint64_t step) {
  auto snapshot = std::make_shared<ckpt::Snapshot>();
  snapshot->ranges = {{0, kElements}};
  for (auto& data : snapshot->data) data.assign(kElements, static_cast<float>(step));
  return snapshot;
}

// One operation hangs, as it may on a network file system: the next one whose path (of a rename:
// the new name) holds a text, and its name begins with a verb.
class HangingFileSystem : public FaultyFileSystem {
 public:
  explicit HangingFileSystem(FileSystem& inner) : FaultyFileSystem(inner) {}

  void Hang(const std::string& verb, const std::string& part) {
    const std::lock_guard<std::mutex> lock(mutex_);
    verb_ = verb;
    part_ = part;
    released_ = false;
  }
  void Release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }
  void WaitUntilItHangs() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return hanging_; });
  }
  void WaitUntilNoneHangs() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !hanging_; });
  }

  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override {
    return std::make_unique<File>(*this, FaultyFileSystem::Open(path, mode), path);
  }
  void Rename(const std::string& from, const std::string& to) override {
    MayHang("rename", to);
    FaultyFileSystem::Rename(from, to);
  }

 private:
  class File : public WritableFile {
   public:
    File(HangingFileSystem& owner, std::unique_ptr<WritableFile> inner, std::string path)
        : owner_(owner), inner_(std::move(inner)), path_(std::move(path)) {}
    void PWrite(const void* data, size_t size, uint64_t offset) override {
      inner_->PWrite(data, size, offset);
    }
    void Sync() override {
      owner_.MayHang("sync", path_);
      inner_->Sync();
    }
    void Close() override { inner_->Close(); }

   private:
    HangingFileSystem& owner_;
    const std::unique_ptr<WritableFile> inner_;
    const std::string path_;
  };

  void MayHang(const std::string& verb, const std::string& path) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (verb != verb_ || path.find(part_) == std::string::npos) return;
    verb_.clear();  // one operation alone
    hanging_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return released_; });
    hanging_ = false;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string verb_, part_;  // guarded by mutex_, as the rest
  bool released_ = false;
  bool hanging_ = false;
};

// Has room for so many bytes of files.
class SmallFileSystem : public FaultyFileSystem {
 public:
  SmallFileSystem(RecordingFileSystem& inner, uint64_t room)
      : FaultyFileSystem(inner), disk_(inner), room_(room) {}
  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override {
    return std::make_unique<File>(*this, FaultyFileSystem::Open(path, mode), path);
  }
  uint64_t Used(const std::string& path = "/run") const {
    if (disk_.KindOf(path) == EntryKind::kFile) return disk_.FileSize(path);
    uint64_t used = 0;
    for (const std::string& name : disk_.List(path)) used += Used(path + "/" + name);
    return used;
  }

 private:
  class File : public WritableFile {
   public:
    File(SmallFileSystem& owner, std::unique_ptr<WritableFile> inner, std::string path)
        : owner_(owner), inner_(std::move(inner)), path_(std::move(path)) {}
    void PWrite(const void* data, size_t size, uint64_t offset) override {
      if (owner_.Used() + size > owner_.room_) throw IoError(ENOSPC, path_, "could not write");
      inner_->PWrite(data, size, offset);
    }
    void Sync() override { inner_->Sync(); }
    void Close() override { inner_->Close(); }

   private:
    SmallFileSystem& owner_;
    const std::unique_ptr<WritableFile> inner_;
    const std::string path_;
  };
  RecordingFileSystem& disk_;
  const uint64_t room_;
};

class SaverTest : public testing::Test {
 protected:
  SaverTest() : comm_(MakeSingleComm()) { disk_.MakeDirs("/run/checkpoints"); }

  Saver::Options OptionsOf(uint64_t every_steps) const {
    ckpt::Layout layout;
    layout.tensors = {{"w", {static_cast<int64_t>(kElements)}, 0, kElements}};
    layout.num_elements = kElements;
    return {.writer = {{"/run"}, 2, "aa"},
            .every_steps = every_steps,
            .keep_last = 10,
            .layout = layout,
            .ranges_of_rank = {{{0, kElements}}}};
  }
  void Make(FileSystem& fs, Saver::Options options) {
    const Writer& writer = options.writer;
    monitor::WriteLease(writer.run, {.owner = writer.owner, .attempt = writer.attempt}, disk_);
    saver_ = std::make_unique<Saver>(
        fs, *comm_, std::move(options),
        [this](const monitor::CheckpointRecord& record) { told_.push_back(record); });
  }
  void Make(FileSystem& fs, uint64_t every_steps, uint64_t resumed_step = 0,
            double every_minutes = 0) {
    Saver::Options options = OptionsOf(every_steps);
    options.every_minutes = every_minutes;
    options.resumed_step = resumed_step;
    Make(fs, std::move(options));
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

  // Steps until `done` says so, and fails the test where that takes too long.
  void StepUntil(uint64_t* step, const std::function<bool()>& done) {
    const double start = SystemClock().Monotonic();
    while (!done()) {
      ASSERT_LT(SystemClock().Monotonic() - start, 30);
      Step((*step)++);
    }
  }

  std::unique_ptr<Comm> comm_;
  // Never destroyed: threads that were left behind may use it to the end of the process.
  RecordingFileSystem& disk_ = *new RecordingFileSystem;
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

// Room for 2.6 checkpoints, one is kept, and a save was killed when it had written 0.9 of one.
TEST_F(SaverTest, WhatADeadSaveLeftMakesRoomForTheNext) {
  Make(disk_, 0);
  Finish(10);
  uint64_t size = 0;
  for (const std::string& name : disk_.List("/run/checkpoints/step_00000010"))
    size += disk_.FileSize("/run/checkpoints/step_00000010/" + name);
  const std::string leftover = "/run/checkpoints/step_00000020.tmp-2-aa";
  disk_.MakeDirs(leftover);
  disk_.Open(leftover + "/shard_00000.h5", FileSystem::Mode::kExclusive)
      ->PWrite(std::string(size * 9 / 10, 'x').data(), size * 9 / 10, 0);
  SmallFileSystem small(disk_, size * 26 / 10);
  const auto resumed = [&] {
    Saver::Options options = OptionsOf(0);
    options.writer = {{"/run"}, 3, "bb"};
    options.keep_last = 1;
    options.resumed_step = 10;
    Make(small, options);
    Finish(20);
    Finish(30);
  };
  EXPECT_THROW(resumed(), AgreedError);
  EXPECT_THAT(ckpt::RemoveLeftovers(small, "/run/checkpoints", 3, "bb").removed,
              testing::Contains(leftover));
  resumed();
  EXPECT_THAT(Steps(), ElementsAre(30));
}

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
  fs_.Hang("sync", "shard_00000.h5");
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
  EXPECT_TRUE(WritersLeftBehind());
  for (const auto& entry : ckpt::ListSteps(disk_, "/run/checkpoints")) {
    EXPECT_NO_THROW(ckpt::VerifyStep(disk_, entry.dir));
  }
  saver_.reset();
}

TEST_F(StalledSave, TheLastSaveIsNotLost) {
  fs_.Hang("sync", "shard_00000.h5");
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
    fs_.Hang("sync", part);
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

TEST_F(StalledSave, TwoInARowEndTheJob) {
  fs_.Hang("sync", "shard_00000.h5");
  Make(0);
  std::string line;
  std::thread again([&] {
    fs_.WaitUntilItHangs();
    fs_.Hang("sync", "shard_00000.h5");  // the next try hangs as well
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
  fs_.Hang("sync", "shard_00000.h5");
  Make(1, /*stall_seconds=*/1000);
  Step(1);
  fs_.WaitUntilItHangs();
  saver_.reset();
  fs_.Release();
}

}  // namespace
}  // namespace contrail::worker
