// resume --from STEP: nothing newer is left that a restart could start from.
#include "launcher/go_back.h"

#include <gmock/gmock.h>

#include <map>

#include "checkpoint/newest.h"
#include "checkpoint/save.h"
#include "common/error.h"
#include "common/recording_file_system.h"
#include "launcher/run_record.h"

namespace contrail::launcher {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kDir = "/run/checkpoints";

class GoBack : public testing::Test {
 protected:
  GoBack() { disk_.MakeDirs(kDir); }

  // A step that comes from `parent` (0: from nothing); another attempt has trained other values.
  void Commit(uint64_t step, uint64_t parent, uint64_t attempt) {
    ckpt::SavePlan plan;
    plan.checkpoints_dir = kDir;
    plan.state.step = step;
    plan.state.attempt = attempt;
    plan.state.parent = lineage_[parent];
    plan.state.model = "test";
    plan.layout.tensors = {{"w", {1}, 0, 1}};
    plan.layout.num_elements = 1;
    plan.topology = {0, 1, {0}};
    plan.ranges_of_rank = {{{0, 1}}};
    ckpt::Snapshot snapshot;
    snapshot.ranges = {{0, 1}};
    for (auto& data : snapshot.data) data.assign(1, static_cast<float>(attempt));
    ckpt::SaveJob job(disk_, plan, std::move(snapshot));
    const std::string dir = ckpt::CommitStep(disk_, plan, {job.Report()}, &lineage_[step]);
    ckpt::WriteNewest(disk_, kDir, {step, dir.substr(dir.rfind('/') + 1), lineage_[step], attempt});
  }
  std::vector<uint64_t> Order(const FileSystem& fs) const {
    std::vector<uint64_t> steps;
    for (const auto& entry : ckpt::ResumeOrder(fs, kDir)) steps.push_back(entry.step);
    return steps;
  }
  std::string IdOf(const std::function<void()>& work) const {
    try {
      work();
    } catch (const Error& error) {
      return error.id();
    }
    return "";
  }

  RecordingFileSystem disk_;
  const monitor::RunDir run_ = {"/run"};
  std::map<uint64_t, std::string> lineage_;
};

// Steps that were trained twice: under the newer copy lies an older one.
TEST_F(GoBack, OlderCopiesThatComeToLightAreSetAsideToo) {
  Commit(10, 0, 1);
  for (const uint64_t attempt : {1, 2, 3}) {
    Commit(20, 10, attempt);
    Commit(30, 20, attempt);
  }
  disk_.RemoveFile(std::string(kDir) + "/step_00000030/COMMIT");  // damaged: not one to start from
  const auto before = disk_.List(kDir);
  const auto bring_back = GoBackTo(disk_, run_, 10, 4);
  EXPECT_THAT(disk_.List(kDir), ElementsAre("newest.json", "step_00000010"));
  EXPECT_THAT(Order(disk_), ElementsAre(10));
  EXPECT_THAT(disk_.List("/run/superseded/attempt_4"), Contains("step_00000020.superseded-2"));
  bring_back();
  EXPECT_EQ(disk_.List(kDir), before);
  EXPECT_EQ(ckpt::ReadNewest(disk_, kDir)->step, 30u);
}

TEST_F(GoBack, AStepThatCannotBeReadBlocksNoOther) {
  for (const uint64_t step : {10, 20, 30}) Commit(step, step - 10, 1);
  FaultyFileSystem sick(disk_);
  sick.FailQuestions("step_00000010/COMMIT", EIO, UINT64_MAX);
  EXPECT_EQ(IdOf([&] { FindStep(sick, run_, 10); }), "E-IO");
  EXPECT_EQ(IdOf([&] { FindStep(sick, run_, 15); }), "E-CKPT-MISSING");
  EXPECT_EQ(FindStep(sick, run_, 20).step, 20u);
  GoBackTo(sick, run_, 20, 2);
  EXPECT_THAT(Order(sick), ElementsAre(20, 10));
  sick.FailQuestions("step_00000030/COMMIT", EIO, UINT64_MAX);  // set aside all the same
  EXPECT_THAT(disk_.List(kDir), Not(Contains("step_00000030")));
}

TEST_F(GoBack, HoldsUntilSomethingWasCommittedOnTopOfIt) {
  for (const uint64_t step : {10, 20, 30}) Commit(step, step - 10, 1);
  GoBackTo(disk_, run_, 10, 2);
  RunRecord record(disk_, run_);
  EXPECT_EQ(record.WentOnFrom(10), false);
  Commit(12, 10, 2);
  EXPECT_EQ(record.WentOnFrom(10), true);
}

}  // namespace
}  // namespace contrail::launcher
