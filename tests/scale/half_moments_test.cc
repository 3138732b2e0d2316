// Training with half-precision moments: as well as with fp32 ones, and exact across a stop.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

double MeanOfLast(const std::map<uint64_t, double>& losses, size_t count) {
  double sum = 0;
  for (auto at = losses.rbegin(); count > 0; ++at, --count) sum += at->second;
  return sum;
}

TEST(HalfMoments, LearnAsFp32OnesAndResumeBitForBit) {
  const JobDir dir;
  const auto train = [&](const std::string& run, const char* moments) {
    const Ended ended = RunJob(2, {"train", dir.config(), "--run", dir / run, "--set",
                                   std::string("train.moments=") + moments});
    EXPECT_EQ(ended.code, 0) << ended.output;
    return Losses(dir / run);
  };
  const auto fp32 = train("fp32", "fp32"), bf16 = train("bf16", "bf16");
  ASSERT_EQ(fp32.size(), 24u);
  ASSERT_EQ(bf16.size(), 24u);
  EXPECT_EQ(bf16.at(1), fp32.at(1)) << "before the first update";
  EXPECT_NE(bf16.at(24), fp32.at(24));
  EXPECT_LT(MeanOfLast(fp32, 8) / 8, fp32.at(1) - 0.2) << "it learns";
  EXPECT_NEAR(MeanOfLast(bf16, 8) / MeanOfLast(fp32, 8), 1, 0.01);

  const std::string run = dir / "resumed";
  std::filesystem::copy(dir / "bf16", run, std::filesystem::copy_options::recursive);
  const Ended resumed = RunJob(2, {"train", "--run", run, "--from", "8"});
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_EQ(Losses(run), bf16);
  for (int kind = 0; kind < 3; ++kind) {
    EXPECT_TRUE(Tensors(run, 24, kind) == Tensors(dir / "bf16", 24, kind)) << "kind " << kind;
  }
}

}  // namespace
}  // namespace contrail::worker
