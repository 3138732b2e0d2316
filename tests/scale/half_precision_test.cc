// Half-precision products, moments and text weights: training goes as well as without, and exact
// across a stop.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <iterator>

#include "checkpoint/load.h"
#include "monitoring/bad_step.h"
#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

double MeanOfLastEight(const std::map<uint64_t, double>& losses) {
  double sum = 0;
  for (auto at = losses.rbegin(); at != std::next(losses.rbegin(), 8); ++at) sum += at->second;
  return sum / 8;
}

using Settings = std::vector<std::string>;

std::map<uint64_t, double> Train(const JobDir& dir, const std::string& run,
                                 const Settings& settings) {
  std::vector<std::string> args = {"train", dir.config(), "--run", dir / run};
  for (const std::string& setting : settings) args.insert(args.end(), {"--set", setting});
  const Ended ended = RunJob(2, args);
  EXPECT_EQ(ended.code, 0) << ended.output;
  return Losses(dir / run);
}

ckpt::RunState StateAt(const std::string& run, uint64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "/checkpoints/step_%08llu",
                static_cast<unsigned long long>(step));
  return ckpt::StepReader::Open(PosixFileSystem(), run + name)->state();
}

// `half` learns as well as `whole`, and a run of it that goes on from step 8 repeats every bit.
void Compare(const Settings& whole, const Settings& half) {
  const JobDir dir;
  const auto expected = Train(dir, "whole", whole), losses = Train(dir, "half", half);
  ASSERT_EQ(expected.size(), 24u);
  ASSERT_EQ(losses.size(), 24u);
  EXPECT_NEAR(losses.at(1) / expected.at(1), 1, 1e-3) << "before the first update";
  EXPECT_NE(losses.at(24), expected.at(24));
  EXPECT_LT(MeanOfLastEight(expected), expected.at(1) - 0.2) << "it learns";
  EXPECT_NEAR(MeanOfLastEight(losses) / MeanOfLastEight(expected), 1, 0.01);

  const std::string run = dir / "resumed";
  std::filesystem::copy(dir / "half", run, std::filesystem::copy_options::recursive);
  const Ended resumed = RunJob(2, {"train", "--run", run, "--from", "8"});
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_EQ(Losses(run), losses);
  for (int kind = 0; kind < 3; ++kind) {
    EXPECT_TRUE(Tensors(run, 24, kind) == Tensors(dir / "half", 24, kind)) << "kind " << kind;
  }
}

TEST(HalfProducts, Bf16LearnsAsFp32AndResumesBitForBit) {
  Compare({"train.precision=fp32"}, {"train.precision=bf16"});
}

TEST(HalfProducts, Fp16LearnsAsFp32AndResumesBitForBit) {
  Compare({"train.precision=fp32"}, {"train.precision=fp16"});
}

// A first scale far too large: it is halved until gradients fit, steps are skipped without being
// called bad, and whoever resumes finds scale and counts.
TEST(HalfProducts, Fp16FindsItsLossScale) {
  const JobDir dir;
  const std::string straight = dir / "straight", run = dir / "resumed";
  const auto losses = Train(dir, "straight",
                            {"train.precision=fp16", "train.initial_scale_power=24",
                             "checkpoint.every_steps=4", "checkpoint.keep_last=9"});
  const ckpt::RunState first = StateAt(straight, 4), end = StateAt(straight, 24);
  EXPECT_EQ(end.precision, "fp16");
  EXPECT_GE(first.loss_scale_overflows, 2u);
  EXPECT_LT(end.loss_scale_overflows, 12u);
  EXPECT_EQ(end.skipped_steps, end.loss_scale_overflows);
  EXPECT_EQ(end.updates, 24 - end.skipped_steps);
  EXPECT_EQ(end.loss_scale, std::ldexp(1.0, 24 - static_cast<int>(end.loss_scale_overflows)));
  EXPECT_LT(losses.at(24), losses.at(1));
  EXPECT_TRUE(monitor::ReadBadSteps({straight}, 1).empty());

  std::filesystem::copy(straight, run, std::filesystem::copy_options::recursive);
  const Ended resumed = RunJob(2, {"train", "--run", run, "--from", "4"});
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_EQ(Losses(run), losses);
  const ckpt::RunState again = StateAt(run, 24);
  EXPECT_EQ(again.loss_scale, end.loss_scale);
  EXPECT_EQ(again.loss_scale_good_steps, end.loss_scale_good_steps);
  EXPECT_EQ(again.loss_scale_overflows, end.loss_scale_overflows);
}

TEST(HalfMoments, LearnAsFp32OnesAndResumeBitForBit) {
  Compare({"train.precision=fp32"}, {"train.precision=fp32", "train.moments=bf16"});
}

TEST(HalfTextWeights, LearnAsFp32MastersAndResumeBitForBit) {
  Compare({"train.precision=bf16"},
          {"train.precision=bf16", "train.moments=bf16", "train.text_weights=bf16"});
}

TEST(HalfTextWeights, NeedProductsInBf16) {
  const JobDir dir;
  const Ended refused = RunJob(1, {"train", dir.config(), "--run", dir / "run", "--set",
                                   "train.precision=fp32", "--set", "train.text_weights=bf16"});
  EXPECT_EQ(refused.code, 2) << refused.output;
  EXPECT_NE(refused.output.find("E-PRECISION"), std::string::npos) << refused.output;
  EXPECT_FALSE(std::filesystem::exists(dir / "run"));
}

}  // namespace
}  // namespace contrail::worker
