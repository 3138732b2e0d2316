// A step that cannot be read (a stale directory, a permission, a sick disk) says nothing of itself
// and holds up nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "checkpoint/newest.h"
#include "checkpoint/prune.h"
#include "common/error.h"
#include "common/recording_file_system.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kDir = "/run/checkpoints";

class Unreadable : public testing::Test {
 protected:
  Unreadable() {
    const World world = MakeWorld(3, 200, 2, 1);
    disk_.MakeDirs(kDir);
    for (const uint64_t step : {100, 200, 300, 400}) {
      const std::string dir = SaveStep(disk_, world, kDir, step);
      const auto reader = StepReader::Open(disk_, dir);
      WriteNewest(disk_, kDir, {step, dir.substr(dir.rfind('/') + 1), reader->lineage(), 0});
    }
  }
  static std::string DirOf(uint64_t step) { return kDir + ("/step_00000" + std::to_string(step)); }
  // From now on it cannot be read.
  void Hide(uint64_t step, int number = EIO) {
    sick_.FailQuestions(DirOf(step) + "/COMMIT", number, UINT64_MAX);
  }
  // The step that a resume starts from, or the id of the error.
  std::string ResumesFrom() {
    try {
      std::vector<std::string> problems;
      const auto reader = OpenNewestUsable(sick_, "/run", false, &problems);
      EXPECT_THAT(problems, IsEmpty());
      return std::to_string(reader->state().step);
    } catch (const Error& error) {
      return error.id();
    }
  }

  RecordingFileSystem disk_;
  FaultyFileSystem sick_{disk_};
};

TEST_F(Unreadable, AnOldOneIsListedAndNoResumeCares) {
  for (const int number : {EIO, ESTALE, EACCES, ENOTDIR}) {
    Hide(100, number);
    const auto steps = ListSteps(sick_, kDir);
    ASSERT_THAT(steps, SizeIs(4));
    EXPECT_EQ(steps[3].step, 100u);
    EXPECT_EQ(steps[3].unreadable, number);
    EXPECT_THAT(WhyUnreadable(steps[3]).what(), HasSubstr(DirOf(100) + "/COMMIT: could not read"));
    EXPECT_EQ(ResumesFrom(), "400");
    EXPECT_EQ(StepReader::Open(sick_, "/run")->state().step, 400u);
  }
}

TEST_F(Unreadable, TheOneThatIsNeededStopsTheResume) {
  Hide(400);
  EXPECT_EQ(ResumesFrom(), "E-IO");
  EXPECT_THROW(StepReader::Open(sick_, "/run"), IoError);
  // One above what newest.json names may have come from it.
  WriteNewest(disk_, kDir, {300, "step_00000300", StepReader::Open(disk_, DirOf(300))->lineage()});
  EXPECT_EQ(ResumesFrom(), "E-IO");
}

TEST_F(Unreadable, OneThatIsReachedOverDamagedOnesStopsTheResume) {
  Hide(300);
  disk_.RemoveFile(DirOf(400) + "/COMMIT");
  std::vector<std::string> problems;
  EXPECT_THROW(OpenNewestUsable(sick_, "/run", false, &problems), IoError);
  EXPECT_THAT(problems, SizeIs(1));
}

TEST_F(Unreadable, PruningKeepsItAndSaysSo) {
  Hide(200);
  const Pruned pruned = Prune(sick_, kDir, {.keep_last = 1, .head = DirOf(400)});
  EXPECT_THAT(pruned.removed, ElementsAre(DirOf(100), DirOf(300)));
  ASSERT_THAT(pruned.problems, SizeIs(1));
  EXPECT_THAT(pruned.problems[0], HasSubstr(DirOf(200) + " stays"));
  EXPECT_THAT(pruned.problems[0], HasSubstr("Input/output error"));
  EXPECT_THAT(disk_.List(kDir), ElementsAre("newest.json", "step_00000200", "step_00000400"));
  // It fills no place: what can be read is what a resume can use.
  sick_.FailQuestions("step_00000400/shard", EIO, UINT64_MAX);
  EXPECT_THAT(PlanPrune(sick_, kDir, {.keep_last = 1, .head = DirOf(400)}).removed, IsEmpty());
}

// Writes newest.json as another writer does, just before we give ours its name.
class AnotherWriter : public FaultyFileSystem {
 public:
  explicit AnotherWriter(FileSystem& inner) : FaultyFileSystem(inner) {}
  void Rename(const std::string& from, const std::string& to) override {
    WriteNewest(inner(), kDir, {200, "step_00000200", "theirs", 7});
    FaultyFileSystem::Rename(from, to);
  }
};

TEST_F(Unreadable, TwoWritersOfNewestDoNotMeet) {
  AnotherWriter both(disk_);
  WriteNewest(both, kDir, {300, "step_00000300", "ours", 7});
  EXPECT_EQ(ReadNewest(disk_, kDir)->lineage, "ours");
  EXPECT_THAT(disk_.List(kDir), testing::Not(testing::Contains(HasSubstr("tmp"))));
}

TEST_F(Unreadable, AFailedNewestLeavesNothing) {
  for (uint64_t n = 1; n <= 5; ++n) {
    FaultyFileSystem full(disk_, n, false);
    EXPECT_THROW(WriteNewest(full, kDir, {100, "step_00000100", "new", 7}), IoError) << n;
    EXPECT_THAT(disk_.List(kDir), testing::Not(testing::Contains(HasSubstr("tmp")))) << n;
  }
  // One that was killed at it leaves its file; the next attempt's start takes it away.
  for (const char* name : {"newest.json.tmp", "newest.json.tmp-0123456789abcdef"}) {
    disk_.WriteAtomically(std::string(kDir) + "/" + name, "{");
  }
  EXPECT_THAT(RemoveLeftovers(disk_, kDir, 3, "bb").removed, SizeIs(2));
  EXPECT_TRUE(disk_.Exists(kDir + std::string("/newest.json")));
}

}  // namespace
}  // namespace contrail::ckpt
