// A job of 64 ranks, and one of 128: the losses of one rank, a checkpoint that few ranks go on
// from.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

// fp32 sums over ranks are taken in another order; docs/architecture.md states the tolerance.
constexpr double kTolerance = 1e-5;

std::vector<std::string> Args(const JobDir& dir, const std::string& run, const char* model,
                              int64_t batch) {
  return {"train", dir.config(),
          "--run", run,
          "--set", std::string("model.name=") + model,
          "--set", "train.global_batch_size=" + std::to_string(batch),
          "--set", "train.steps=4",
          "--set", "train.warmup_steps=2",
          "--set", "checkpoint.every_steps=2"};
}

void ExpectNear(const std::string& run, const std::map<uint64_t, double>& expected,
                const std::string& who) {
  const auto losses = Losses(run);
  ASSERT_EQ(losses.size(), expected.size()) << who;
  for (const auto& [step, loss] : losses) {
    EXPECT_NEAR(loss / expected.at(step), 1, kTolerance) << who << ", step " << step;
  }
}

void TrainOnManyAndGoOnWithFew(int ranks, const char* model, int64_t batch) {
  const JobDir dir;
  const std::string many = dir / "many", one = dir / "one";
  const Ended alone = RunJob(1, Args(dir, one, model, batch));
  ASSERT_EQ(alone.code, 0) << alone.output;
  const auto expected = Losses(one);
  ASSERT_EQ(expected.size(), 4u);
  EXPECT_LT(expected.at(4), expected.at(1)) << "it learns";

  const Ended all = RunJob(ranks, Args(dir, many, model, batch));
  ASSERT_EQ(all.code, 0) << all.output;
  ExpectNear(many, expected, std::to_string(ranks) + " ranks");
  ASSERT_TRUE(std::filesystem::exists(many + "/checkpoints/step_00000002/COMMIT"));

  for (const int few : {3, 1}) {
    const std::string run = dir / ("few" + std::to_string(few));
    std::filesystem::copy(many, run, std::filesystem::copy_options::recursive);
    const Ended resumed = RunJob(few, {"train", "--run", run, "--from", "2"});
    ASSERT_EQ(resumed.code, 0) << resumed.output;
    ExpectNear(run, expected, std::to_string(few) + " ranks from step 2");
  }
}

TEST(Ranks64, TrainSaveAndGoOnWithFew) { TrainOnManyAndGoOnWithFew(64, "tiny-vit", 192); }

// A rank of tiny-vit holds 180 MB, one of nano-vit 130 MB.
TEST(Ranks128, TrainSaveAndGoOnWithFew) { TrainOnManyAndGoOnWithFew(128, "nano-vit", 384); }

}  // namespace
}  // namespace contrail::worker
