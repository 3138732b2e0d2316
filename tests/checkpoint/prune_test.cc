// Which steps stay: by lineage, whatever their numbers; and what cannot be removed blocks nothing.
#include "checkpoint/prune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "checkpoint/format.h"
#include "checkpoint/newest.h"
#include "common/error.h"
#include "common/recording_file_system.h"
#include "tests/checkpoint/fixture.h"

namespace contrail::ckpt {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

constexpr const char* kDir = "/run/checkpoints";

// A run's checkpoints, made step by step.
class Prunes : public testing::Test {
 protected:
  Prunes() : world_(MakeWorld(3, 200, 2, 1)) { disk_.MakeDirs(kDir); }

  static std::string DirOf(uint64_t step) { return std::string(kDir) + "/" + StepName(step); }

  // Commits a step that comes from `parent` (0: from nothing), as the saver does, without pruning.
  void Commit(uint64_t step, uint64_t parent, uint64_t attempt) {
    std::vector<std::string> reports;
    std::vector<SavePlan> plans;
    for (int rank = 0; rank < world_.ranks(); ++rank) {
      plans.push_back(PlanOf(world_, kDir, step, rank));
      plans.back().state.attempt = attempt;
      plans.back().state.parent = lineage_[parent];
      plans.back().state.loss = static_cast<double>(attempt);  // another branch, other bits
      SaveJob job(disk_, plans.back(), SnapshotOf(world_, step, rank));
      reports.push_back(job.Report());
    }
    CommitStep(disk_, plans[0], reports, &lineage_[step]);
    WriteNewest(disk_, kDir, {step, StepName(step), lineage_[step], attempt});
  }

  std::vector<uint64_t> Steps() const {
    std::vector<uint64_t> steps;
    for (const StepEntry& entry : ListSteps(disk_, kDir)) steps.push_back(entry.step);
    return steps;
  }
  std::vector<uint64_t> Order() const {
    std::vector<uint64_t> steps;
    for (const StepEntry& entry : ResumeOrder(disk_, kDir)) steps.push_back(entry.step);
    return steps;
  }

  RecordingFileSystem disk_;
  const World world_;
  std::map<uint64_t, std::string> lineage_;
};

// Which of the committed steps stay. Each commit is (step, parent, attempt); the last one is the
// head.
struct Case {
  const char* name;
  std::vector<std::array<uint64_t, 3>> commits;
  int keep_last;
  std::vector<uint64_t> kept;  // newest first
};

TEST_F(Prunes, ByLineage) {
  const std::vector<Case> cases = {
      {"a straight run", {{10, 0, 1}, {20, 10, 1}, {30, 20, 1}, {40, 30, 1}}, 2, {40, 30}},
      {"over attempts", {{10, 0, 1}, {20, 10, 2}, {30, 20, 3}}, 2, {30, 20}},
      {"more places than steps", {{10, 0, 1}, {20, 10, 1}}, 5, {20, 10}},
      {"an older program's: one parent an attempt",
       {{10, 0, 1}, {20, 0, 1}, {30, 20, 2}, {40, 20, 2}, {50, 20, 2}},
       4,
       {50, 40, 30, 20}},
      {"a new branch below an old one",
       {{30, 0, 1}, {40, 30, 1}, {46, 40, 1}, {10, 0, 2}, {12, 10, 2}},
       3,
       {46, 12, 10}},
      {"the new branch fills all places",
       {{30, 0, 1}, {40, 30, 1}, {46, 40, 1}, {10, 0, 2}, {12, 10, 2}},
       2,
       {12, 10}},
      {"one place, and that is the head's", {{30, 0, 1}, {46, 30, 1}, {10, 0, 2}}, 1, {10}},
      {"a branch from the middle",
       {{10, 0, 1}, {20, 10, 1}, {30, 20, 1}, {25, 20, 2}},
       2,
       {25, 20}},
      {"older steps of another branch come before newer ones",
       {{20, 0, 1}, {30, 20, 1}, {40, 30, 1}, {25, 0, 2}},
       3,
       {40, 25, 20}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    disk_.RemoveTree(kDir);
    disk_.MakeDirs(kDir);
    lineage_.clear();
    for (const auto& [step, parent, attempt] : one.commits) Commit(step, parent, attempt);
    const std::string head = DirOf(one.commits.back()[0]);
    for (const std::string& given : {head, std::string()}) {
      const Retention retention{.keep_last = one.keep_last, .head = given};
      std::set<std::string> gone;
      for (const std::string& dir : PlanPrune(disk_, kDir, retention).removed) gone.insert(dir);
      std::vector<uint64_t> kept;
      for (const uint64_t step : Steps())
        if (gone.count(DirOf(step)) == 0) kept.push_back(step);
      EXPECT_EQ(kept, one.kept);
    }
    EXPECT_THAT(Prune(disk_, kDir, {.keep_last = one.keep_last, .head = head}).problems, IsEmpty());
    EXPECT_EQ(Steps(), one.kept);
    EXPECT_THAT(Prune(disk_, kDir, {.keep_last = one.keep_last, .head = head}).removed, IsEmpty());
  }
}

// A run that went back: what it has just committed is there after every save, and what a restart
// would start from.
TEST_F(Prunes, ABranchBelowAnOldOneGrows) {
  Commit(30, 0, 1);
  Commit(40, 30, 1);
  Commit(46, 40, 1);
  uint64_t before = 0;
  for (uint64_t step = 10; step <= 60; step += 2) {
    if (step == 30 || step == 40 || step == 46) continue;  // names that the old branch has
    Commit(step, before, 2);
    Prune(disk_, kDir, {.keep_last = 2, .attempt = 2, .head = DirOf(step)});
    EXPECT_THAT(Steps(), testing::Contains(step));
    EXPECT_TRUE(before == 0 || Steps().back() == before || Steps().front() == before);
    EXPECT_EQ(Order().front(), step);
    EXPECT_LE(Steps().size(), 2u);
    before = step;
  }
}

TEST_F(Prunes, WhatNewestNamesStays) {
  for (const uint64_t step : {10, 20, 30}) Commit(step, step - 10, 1);
  WriteNewest(disk_, kDir, {10, StepName(10), lineage_[10], 1});  // as a request to go back
  Prune(disk_, kDir, {.keep_last = 1, .head = DirOf(30)});
  EXPECT_THAT(Steps(), ElementsAre(30, 10));
}

TEST_F(Prunes, CountsUsableStepsOnly) {
  for (const uint64_t step : {100, 200, 300, 400, 500}) Commit(step, step - 100, 1);
  disk_.RemoveFile(DirOf(500) + "/shard_00000.h5");  // damaged
  disk_.RemoveFile(DirOf(400) + "/COMMIT");          // no checkpoint
  for (const char* name :
       {"step_00000600.tmp-3-aa", "step_00000600.tmp-2.1", "step_00000050.deleting", "notes"})
    disk_.MakeDir(std::string(kDir) + "/" + name);
  const auto planned = PlanPrune(disk_, kDir, {.keep_last = 2, .attempt = 3}).removed;
  EXPECT_THAT(planned, ElementsAre(DirOf(50) + ".deleting", DirOf(100), DirOf(600) + ".tmp-2.1"));
  EXPECT_THAT(Prune(disk_, kDir, {.keep_last = 2, .attempt = 3}).removed,
              testing::UnorderedElementsAreArray(planned));
  Prune(disk_, kDir, {.keep_last = 0, .attempt = 3});  // at least one stays
  EXPECT_THAT(disk_.List(kDir),
              ElementsAre("newest.json", "notes", "step_00000300", "step_00000400", "step_00000500",
                          "step_00000600.tmp-3-aa"));
}

TEST_F(Prunes, LeftoversOfDeadWritersGoAtTheStart) {
  Commit(10, 0, 1);
  for (const char* name :
       {"step_00000020.tmp-1", "step_00000020.tmp-1-aa.1", "step_00000020.tmp-2-aa",
        "step_00000020.tmp-2-bb", "step_00000020.tmp-3-aa", "step_00000005.deleting"})
    disk_.MakeDir(std::string(kDir) + "/" + name);
  EXPECT_THAT(RemoveLeftovers(disk_, kDir, 2, "bb").problems, IsEmpty());
  // Ours, and those of whoever came after us.
  EXPECT_THAT(disk_.List(kDir), ElementsAre("newest.json", "step_00000010",
                                            "step_00000020.tmp-2-bb", "step_00000020.tmp-3-aa"));
}

// Removing fails for one directory: as a mount inside it, or a file held open on NFS.
class StuckFileSystem : public FaultyFileSystem {
 public:
  StuckFileSystem(FileSystem& inner, std::string stuck)
      : FaultyFileSystem(inner), stuck_(std::move(stuck)) {}
  void RemoveDir(const std::string& path) override {
    if (path.find(stuck_) != std::string::npos) throw IoError(EBUSY, path, "could not remove");
    FaultyFileSystem::RemoveDir(path);
  }

 private:
  const std::string stuck_;
};

TEST_F(Prunes, GoesOnPastWhatCannotBeRemoved) {
  for (const uint64_t step : {10, 20, 30}) Commit(step, step - 10, 1);
  disk_.MakeDir(std::string(kDir) + "/step_00000005.deleting");
  StuckFileSystem stuck(disk_, "step_00000005");
  const Pruned pruned = Prune(stuck, kDir, {.keep_last = 1});
  EXPECT_THAT(pruned.removed, UnorderedElementsAre(DirOf(10), DirOf(20)));
  ASSERT_THAT(pruned.problems, SizeIs(1));
  EXPECT_THAT(pruned.problems[0], HasSubstr("step_00000005.deleting"));
  EXPECT_THAT(pruned.problems[0], HasSubstr("Device or resource busy"));
  // The same number is committed and removed again while the old remains are still there.
  Commit(5, 30, 2);
  Commit(40, 5, 2);
  EXPECT_THAT(Prune(stuck, kDir, {.keep_last = 1}).problems, SizeIs(2));
  EXPECT_THAT(Steps(), ElementsAre(40));
  EXPECT_THAT(Prune(disk_, kDir, {.keep_last = 1}).problems, IsEmpty());
  EXPECT_THAT(disk_.List(kDir), ElementsAre("newest.json", "step_00000040"));
}

TEST(PrunesLinks, TheLinkGoesAndWhatItPointsToStays) {
  ScratchDir scratch;
  FileSystem& fs = PosixFileSystem();
  const World world = MakeWorld(3, 200, 2, 1);
  const std::string dir = scratch.path() + "/checkpoints";
  const std::string archive = scratch.path() + "/archive";
  for (const uint64_t step : {100u, 200u, 300u}) SaveStep(fs, world, dir, step);
  fs.Rename(dir + "/step_00000100", archive);
  ASSERT_EQ(symlink(archive.c_str(), (dir + "/step_00000100").c_str()), 0);
  Prune(fs, dir, {.keep_last = 3});
  EXPECT_EQ(fs.KindOf(dir + "/step_00000100"), EntryKind::kLink);
  const Pruned pruned = Prune(fs, dir, {.keep_last = 1});
  EXPECT_THAT(pruned.problems, IsEmpty());
  EXPECT_THAT(fs.List(dir), ElementsAre("step_00000300"));
  VerifyStep(fs, archive);
}

TEST_F(Prunes, ResumeStartsFromWhatWasCommittedLast) {
  Commit(30, 0, 1);
  Commit(46, 30, 1);
  EXPECT_THAT(Order(), ElementsAre(46, 30));
  Commit(10, 0, 2);  // another branch: 46 does not come from it
  EXPECT_THAT(Order(), ElementsAre(10));
  Commit(12, 10, 2);
  EXPECT_THAT(Order(), ElementsAre(12, 10));
  // A crash came between the step's rename and newest.json.
  WriteNewest(disk_, kDir, {10, StepName(10), lineage_[10], 2});
  EXPECT_THAT(Order(), ElementsAre(12, 10));
  // Without the file, as older programs left it.
  disk_.RemoveFile(std::string(kDir) + "/newest.json");
  EXPECT_THAT(Order(), ElementsAre(46, 30, 12, 10));
}

TEST_F(Prunes, AnAncestorComesBeforeAnotherBranchsNewerStep) {
  Commit(20, 0, 1);
  Commit(40, 20, 1);
  Commit(30, 0, 2);
  WriteNewest(disk_, kDir, {40, StepName(40), lineage_[40], 1});
  EXPECT_THAT(Order(), ElementsAre(40, 20, 30));
}

TEST_F(Prunes, ALostStepIsNotReplacedByAnOlderOne) {
  const auto id = [&] {
    try {
      ResumeOrder(disk_, kDir);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
      EXPECT_THAT(error.what(), HasSubstr("newest.json"));
      return error.id();
    }
    return std::string();
  };
  Commit(10, 0, 1);
  Commit(20, 10, 1);
  disk_.RemoveTree(DirOf(20));
  EXPECT_EQ(id(), "E-CKPT-LOST");
  EXPECT_THROW(PlanPrune(disk_, kDir, {.keep_last = 1}), Error);
  GoOnFrom(disk_, kDir, {10, DirOf(10)});  // on purpose
  EXPECT_EQ(id(), "");
  EXPECT_THAT(Order(), ElementsAre(10));
  disk_.RemoveTree(DirOf(10));
  EXPECT_EQ(id(), "E-CKPT-LOST");  // never from nothing
  disk_.WriteAtomically(std::string(kDir) + "/newest.json", "{\"step\":");
  EXPECT_EQ(id(), "E-CKPT-LOST");
}

TEST_F(Prunes, ADamagedStepIsListedWithWhatIsWrong) {
  Commit(10, 0, 1);
  Commit(20, 10, 1);
  disk_.RemoveFile(DirOf(20) + "/COMMIT");
  const auto order = ResumeOrder(disk_, kDir);
  ASSERT_THAT(order, SizeIs(2));
  EXPECT_EQ(order[0].step, 20u);
  EXPECT_THAT(order[0].damage, HasSubstr("E-CKPT-CORRUPT: " + DirOf(20) + "/COMMIT: is missing"));
  EXPECT_EQ(order[1].step, 10u);
  EXPECT_EQ(order[1].damage, "");
}

}  // namespace
}  // namespace contrail::ckpt
