// The same ranks give the same bits: losses, weights and moments, run after run.
#include <gmock/gmock.h>

#include "checkpoint/state.h"
#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

class DeterminismTest : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(EveryLoss, DeterminismTest, testing::Values("clip", "siglip"));

// Fresh processes, another number of threads, other times at which ranks meet.
TEST_P(DeterminismTest, FourRanksRepeatBitForBit) {
  const JobDir dir;
  const std::vector<std::string> threads = {"1", "1", "2"};
  for (size_t i = 0; i < threads.size(); ++i) {
    const Ended ended =
        RunJob(4, {"train", dir.config(), "--run", dir / ("run" + std::to_string(i)), "--threads",
                   threads[i], "--set", std::string("train.loss=") + GetParam(), "--set",
                   "train.steps=10", "--set", "train.grad_clip_norm=0.5"});
    ASSERT_EQ(ended.code, 0) << ended.output;
  }
  const std::map<uint64_t, double> losses = Losses(dir / "run0");
  ASSERT_EQ(losses.size(), 10u);
  for (const char* run : {"run1", "run2"}) {
    EXPECT_EQ(Losses(dir / run), losses) << run;
    for (int kind = 0; kind < ckpt::kNumKinds; ++kind) {
      EXPECT_EQ(Tensors(dir / run, 10, kind), Tensors(dir / "run0", 10, kind)) << run << kind;
    }
  }
}

}  // namespace
}  // namespace contrail::worker
