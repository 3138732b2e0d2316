// Runs that end and go on: the same losses, the same weights, whatever happened on the way.
#include <gmock/gmock.h>
#include <signal.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "common/strings.h"
#include "monitoring/damaged_step.h"
#include "monitoring/end_record.h"
#include "monitoring/store/run_store.h"
#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;
using testing::Not;

class ResumeTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new JobDir;
    const Ended straight = RunJob(2, {"train", dir_->config(), "--run", *dir_ / "straight"});
    ASSERT_EQ(straight.code, 0) << straight.output;
  }
  static void TearDownTestSuite() {
    delete dir_;
    dir_ = nullptr;
  }
  static std::string Copy(const std::string& from, const std::string& to) {
    std::filesystem::copy(*dir_ / from, *dir_ / to, std::filesystem::copy_options::recursive);
    return *dir_ / to;
  }
  // Same losses and the same final weights and moments, to the last bit.
  static void ExpectSameRun(const std::string& run) {
    EXPECT_EQ(Losses(run), Losses(*dir_ / "straight"));
    for (int kind = 0; kind < 3; ++kind) {
      EXPECT_TRUE(Tensors(run, 24, kind) == Tensors(*dir_ / "straight", 24, kind)) << kind;
    }
  }
  static JobDir* dir_;
};
JobDir* ResumeTest::dir_ = nullptr;

TEST_F(ResumeTest, TheStraightRunIsWhole) {
  const auto losses = Losses(*dir_ / "straight");
  ASSERT_EQ(losses.size(), 24u);
  EXPECT_EQ(losses.begin()->first, 1u);
  EXPECT_NEAR(losses.at(1), std::log(64.0), 0.6);
  EXPECT_LT(losses.at(24), losses.at(1) - 0.3);
  // In-batch accuracy counts every rank's rows: 1 of 64 by chance, more after a few steps.
  monitor::RunStore store({*dir_ / "straight"});
  store.Refresh();
  double accuracy = 0;
  for (const monitor::StepRow* row : store.committed()) {
    EXPECT_LE(row->record.accuracy_image_to_text, 1);
    accuracy += row->record.accuracy_image_to_text / 24;
    EXPECT_GE(row->phases[monitor::kTotalPhase].max_rank, 0) << row->record.step;
  }
  EXPECT_GT(accuracy, 0.01);
  for (int rank = 0; rank < 2; ++rank) {
    const auto end = monitor::ReadEndRecord({*dir_ / "straight"}, 1, rank);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->outcome, "done");
    EXPECT_EQ(end->step, 24u);
  }
}

TEST_F(ResumeTest, StoppedOnRequestAndResumedIsBitIdentical) {
  const std::string run = *dir_ / "stopped";
  Held held(*dir_, 8);
  Job job(2, {"train", dir_->config(), "--run", run});
  ASSERT_TRUE(WaitForFile(run + "/telemetry"));
  job.Signal(SIGUSR1);
  held.Release();
  const Ended stopped = job.Wait();
  EXPECT_EQ(stopped.code, 3) << stopped.output;
  const auto end = monitor::ReadEndRecord({run}, 1, 1);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->outcome, "stopped");
  ASSERT_GT(end->step, 0u);
  ASSERT_LT(end->step, 24u);
  const Ended resumed = RunJob(2, {"train", "--run", run});
  EXPECT_EQ(resumed.code, 0) << resumed.output;
  ExpectSameRun(run);
}

TEST_F(ResumeTest, KilledAndResumedIsBitIdentical) {
  const std::string run = *dir_ / "killed";
  const Ended killed = RunKilled(*dir_, {"train", dir_->config(), "--run", run}, 2);
  EXPECT_NE(killed.code, 0);
  ASSERT_TRUE(std::filesystem::exists(run + "/checkpoints/step_00000008/COMMIT"));
  EXPECT_FALSE(monitor::ReadEndRecord({run}, 1, 1));
  const Ended resumed = RunJob(2, {"train", "--run", run});
  EXPECT_EQ(resumed.code, 0) << resumed.output;
  ExpectSameRun(run);
}

TEST_F(ResumeTest, OtherRankCountsSeeTheSameBatches) {
  const std::string run = *dir_ / "elastic";
  const std::vector<std::string> one_config = {"train", dir_->config(), "--run", run};
  const Ended four = RunJob(4, one_config);
  ASSERT_EQ(four.code, 0) << four.output;
  const auto straight = Losses(*dir_ / "straight");
  const auto expect_near = [&](const char* who) {
    const auto losses = Losses(run);
    ASSERT_EQ(losses.size(), straight.size()) << who;
    for (const auto& [step, loss] : losses) {
      EXPECT_NEAR(loss / straight.at(step), 1, 1e-5) << who << ", step " << step;
    }
  };
  expect_near("4 ranks");
  const Ended two = RunJob(2, {"train", "--run", run, "--from", "8"});
  ASSERT_EQ(two.code, 0) << two.output;
  EXPECT_THAT(two.output, HasSubstr("steps 9 to 24"));
  expect_near("4, then 2 ranks");
  const Ended eight = RunJob(8, {"train", "--run", run, "--from", "16"});
  ASSERT_EQ(eight.code, 0) << eight.output;
  EXPECT_THAT(eight.output, HasSubstr("steps 17 to 24"));
  expect_near("4, then 2, then 8 ranks");
}

TEST_F(ResumeTest, ACorruptNewestStepIsReportedAndTheOneBeforeUsed) {
  const std::string run = Copy("straight", "corrupt");
  {
    std::fstream shard(run + "/checkpoints/step_00000024/shard_00000.h5",
                       std::ios::in | std::ios::out | std::ios::binary);
    shard.seekp(5'000'000);
    shard.put('x');
  }
  const Ended resumed = RunJob(2, {"train", "--run", run});
  EXPECT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("E-CKPT-CORRUPT"));
  EXPECT_THAT(resumed.output, HasSubstr("steps 17 to 24"));
  const auto damaged = monitor::ReadDamagedSteps({run}, 2);
  ASSERT_EQ(damaged.size(), 1u);
  EXPECT_EQ(damaged[0].step, 24u);
  EXPECT_THAT(damaged[0].why, HasSubstr("E-CKPT-CORRUPT"));
  ExpectSameRun(run);
}

// What was committed last is gone: no rank goes on from less, until somebody asks for it.
TEST_F(ResumeTest, ALostStepFailsTheAttemptOnAllRanks) {
  const std::string run = Copy("straight", "lost");
  std::filesystem::remove_all(run + "/checkpoints/step_00000024");
  const Ended lost = RunJob(2, {"train", "--run", run});
  EXPECT_NE(lost.code, 0);
  EXPECT_THAT(lost.output, HasSubstr("E-CKPT-LOST"));
  EXPECT_EQ(lost.output.find("E-CKPT-LOST"), lost.output.rfind("E-CKPT-LOST")) << lost.output;
  for (int rank = 0; rank < 2; ++rank) {
    const auto end = monitor::ReadEndRecord({run}, 2, rank);
    EXPECT_TRUE(!end || end->outcome == "environment_error");
  }
  std::filesystem::remove_all(run + "/checkpoints");
  EXPECT_THAT(RunJob(2, {"train", "--run", run}).output, HasSubstr("E-CKPT-LOST"));
  EXPECT_EQ(Losses(run), Losses(*dir_ / "straight"));
}

TEST_F(ResumeTest, SettingsMayChangeOnRequestAndAreNamed) {
  const std::string run = Copy("straight", "changed");
  const Ended longer = RunJob(1, {"train", "--run", run, "--set", "train.steps=26"});
  EXPECT_EQ(longer.code, 0) << longer.output;
  EXPECT_THAT(longer.output, HasSubstr("train.steps: 24 -> 26"));
  EXPECT_EQ(Losses(run).size(), 26u);
}

TEST_F(ResumeTest, WhatCannotGoOnIsRefused) {
  const std::string run = *dir_ / "straight";
  const auto refused = [&](const std::string& set, const std::string& id) {
    const Ended ended = RunJob(2, {"train", "--run", run, "--set", set});
    EXPECT_EQ(ended.code, 2) << set << ended.output;
    EXPECT_THAT(ended.output, HasSubstr(id));
    // One rank speaks for all.
    EXPECT_EQ(ended.output.find(id), ended.output.rfind(id)) << ended.output;
  };
  refused("train.global_batch_size=32", "E-RESUME-BATCH");
  refused("model.activation=gelu", "E-CKPT-MODEL");
  const Ended gone = RunJob(2, {"train", "--run", run, "--from", "9"});
  EXPECT_EQ(gone.code, 2);
  EXPECT_THAT(gone.output, HasSubstr("E-CKPT-MISSING"));
}

TEST_F(ResumeTest, OtherShardsAreRefusedUnlessAskedFor) {
  const std::string run = Copy("straight", "other_data");
  const std::string one = *dir_ / "data/pairs-000000.tar";
  std::string before;
  {
    std::ifstream in(run + "/config.toml");
    before.assign(std::istreambuf_iterator<char>(in), {});
  }
  // As if the config had been edited, or an earlier command had said --set: neither agrees now.
  for (const char* origin : {"config.toml:5", "--set"}) {
    std::string toml;
    for (const std::string& line : Split(before, '\n')) {
      toml += line.starts_with("train = ") ? "train = [\"" + one + "\"]  # " + origin : line;
      toml += '\n';
    }
    std::ofstream(run + "/config.toml") << toml;
    const Ended refused = RunJob(1, {"train", "--run", run});
    EXPECT_EQ(refused.code, 2) << refused.output;
    EXPECT_THAT(refused.output, HasSubstr("E-RESUME-DATA"));
  }
  const Ended asked =
      RunJob(1, {"train", "--run", run, "--set", "data.train=" + one, "--set", "train.steps=25"});
  EXPECT_EQ(asked.code, 0) << asked.output;
  // A launcher's command agreed: its first attempt uses that up, its restarts are held to it.
  std::ofstream(run + "/config.toml") << before;
  const std::vector<std::string> supervised = {"train", "--run",         run, "--consent", "c0ffee",
                                               "--set", "train.steps=26"};
  auto with = [&](std::initializer_list<std::string> more) {
    std::vector<std::string> args = supervised;
    args.insert(args.end(), more);
    return RunJob(1, args);
  };
  const Ended first = with({});
  EXPECT_EQ(first.code, 0) << first.output;
  const Ended restarted = with({"--set", "data.train=" + one});
  EXPECT_EQ(restarted.code, 2) << restarted.output;
  EXPECT_THAT(restarted.output, HasSubstr("E-RESUME-DATA"));
}

TEST_F(ResumeTest, WeightsOfACheckpointStartANewRun) {
  const std::string run = *dir_ / "init";
  const Ended ended = RunJob(
      2, {"train", dir_->config(), "--run", run, "--set", "model.init=" + (*dir_ / "straight"),
          "--set", "train.steps=1", "--set", "train.warmup_steps=0"});
  ASSERT_EQ(ended.code, 0) << ended.output;
  const auto losses = Losses(run);
  ASSERT_EQ(losses.size(), 1u);
  // The first batch again, now with trained weights and without the old moments.
  EXPECT_LT(losses.at(1), Losses(*dir_ / "straight").at(1) - 0.3);
}

}  // namespace
}  // namespace contrail::worker
