// What a start clears away: a disk for 2.6 checkpoints, of which one is kept, has room for the next
// one whatever was killed on it.
#include "worker/make_room.h"

#include <gmock/gmock.h>

#include "checkpoint/newest.h"
#include "common/error.h"
#include "monitoring/run_files.h"
#include "tests/worker/hanging_file_system.h"
#include "tests/worker/saver_fixture.h"
#include "worker/agree.h"
#include "worker/left_behind.h"

namespace contrail::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Has room for so many bytes of files.
class SmallFileSystem : public PassThroughFileSystem {
 public:
  SmallFileSystem(FileSystem& inner, uint64_t room) : PassThroughFileSystem(inner), room_(room) {}

 private:
  uint64_t Used(const std::string& path = "/run") const {
    if (inner().KindOf(path) == EntryKind::kFile) return inner().FileSize(path);
    uint64_t used = 0;
    for (const std::string& name : inner().List(path)) used += Used(path + "/" + name);
    return used;
  }
  void PassWrite(WritableFile& file, const std::string& path, Write write, const void* data,
                 size_t size, uint64_t offset) const override {
    if (Used() + size > room_) throw IoError(ENOSPC, path, "could not write");
    PassThroughFileSystem::PassWrite(file, path, write, data, size, offset);
  }
  const uint64_t room_;
};

class MakesRoom : public SaverTest {
 protected:
  // Commits step 10.
  void SetUp() override {
    Make(disk_, 0);
    Finish(10);
    for (const std::string& name : disk_.List("/run/checkpoints/step_00000010"))
      size_ += disk_.FileSize("/run/checkpoints/step_00000010/" + name);
  }
  // The next attempt, resumed from `step`; tells whether it can save.
  bool SavesAfter(uint64_t step) {
    Saver::Options options = OptionsOf(0);
    options.writer = next_.writer;
    options.keep_last = 1;
    options.resumed_step = step;
    Make(Small(), options);
    try {
      Finish(30);
      Finish(40);
      return true;
    } catch (const AgreedError&) {
      return false;
    }
  }
  // Never destroyed, as disk_.
  FileSystem& Small() { return *new SmallFileSystem(disk_, size_ * 26 / 10); }

  uint64_t size_ = 0;
  uint64_t moved_ = 0;
  RoomOrder next_ = {.writer = {{"/run"}, 3, "bb"}, .keep_last = 1};
};

TEST_F(MakesRoom, WhereASaveWasKilled) {
  const std::string leftover = "/run/checkpoints/step_00000020.tmp-2-aa";
  disk_.MakeDirs(leftover);
  disk_.Open(leftover + "/shard_00000.h5", FileSystem::Mode::kExclusive)
      ->PWrite(std::string(size_ * 9 / 10, 'x').data(), size_ * 9 / 10, 0);
  EXPECT_FALSE(SavesAfter(10));
  next_.resumed_step = 10;
  next_.resumed_dir = "/run/checkpoints/step_00000010";
  MakeRoom(disk_, next_, [this](uint64_t amount) { moved_ += amount; });
  EXPECT_GT(moved_, 3u);
  EXPECT_TRUE(SavesAfter(10));
  EXPECT_THAT(Steps(), ElementsAre(40));
}

// Killed between a commit and its pruning, or, a moment earlier, before newest.json named the step.
TEST_F(MakesRoom, WhereACommitWasKilledBeforeItsPruning) {
  const auto before = ckpt::ReadNewest(disk_, "/run/checkpoints");
  for (const bool named : {true, false}) {
    SCOPED_TRACE(named);
    disk_.RemoveTree("/run");
    disk_.MakeDirs("/run/checkpoints");
    Make(disk_, 0);
    Finish(10);
    Finish(20);
    if (!named) ckpt::WriteNewest(disk_, "/run/checkpoints", *before);
    ASSERT_THAT(Steps(), ElementsAre(20, 10));
    EXPECT_FALSE(SavesAfter(20));
    next_.resumed_step = 20;
    next_.resumed_dir = "/run/checkpoints/step_00000020";
    MakeRoom(disk_, next_, {});
    EXPECT_THAT(disk_.List("/run/checkpoints"), ElementsAre("newest.json", "step_00000020"));
    EXPECT_EQ(ckpt::ReadNewest(disk_, "/run/checkpoints")->step, 20u);
    EXPECT_TRUE(SavesAfter(20));
  }
}

TEST_F(MakesRoom, OnlyForWhomHoldsTheRun) {
  disk_.MakeDirs("/run/checkpoints/step_00000020.tmp-2-aa");
  monitor::WriteLease({"/run"}, {.owner = "cc", .attempt = 4}, disk_);
  EXPECT_THROW(MakeRoom(disk_, next_, {}), Error);
  EXPECT_TRUE(disk_.Exists("/run/checkpoints/step_00000020.tmp-2-aa"));
}

TEST_F(MakesRoom, RemovingThatHangsHoldsUpNoStart) {
  auto& fs = *new HangingFileSystem(disk_);
  monitor::WriteLease({"/run"}, {.owner = "bb", .attempt = 3}, disk_);
  disk_.MakeDirs("/run/checkpoints/step_00000020.tmp-2-aa");
  disk_.MakeDirs("/run/checkpoints/step_00000020.tmp-2-bb");
  fs.Hang("remove the directory", "tmp-2-aa");
  next_.stall_seconds = 0.2;
  testing::internal::CaptureStderr();
  MakeRoom(fs, next_, {});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("removing old checkpoints in /run/checkpoints has not moved for"));
  EXPECT_TRUE(ThreadsLeftBehind());
  fs.Release();
  fs.WaitUntilNoneHangs();
  // What comes back late goes no further.
  EXPECT_TRUE(disk_.Exists("/run/checkpoints/step_00000020.tmp-2-bb.deleting"));
}

}  // namespace
}  // namespace contrail::worker
