// Runs on made-up pairs: the same whatever the ranks and stops, and no model to be judged.
#include <gmock/gmock.h>

#include <cmath>

#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

TEST(Synthetic, RunsResumesAndIsNotEvaluated) {
  const JobDir dir;
  const auto train = [&](int ranks, const std::string& run, std::vector<std::string> more) {
    std::vector<std::string> args = {"train",
                                     "--run",
                                     dir / run,
                                     "--set",
                                     "data.train=synthetic",
                                     "--set",
                                     "data.synthetic_samples=640",
                                     "--set",
                                     "data.synthetic_caption_tokens=20"};
    args.insert(args.begin() + 1, more.begin(), more.end());
    const Ended ended = RunJob(ranks, args);
    EXPECT_EQ(ended.code, 0) << ended.output;
    return ended.output;
  };
  EXPECT_THAT(train(2, "straight", {dir.config()}),
              AllOf(HasSubstr("640 samples"), HasSubstr("synthetic pairs")));
  const auto straight = Losses(dir / "straight");
  ASSERT_EQ(straight.size(), 24u);
  EXPECT_NEAR(straight.at(1), std::log(64.0), 0.6);

  train(2, "parts", {dir.config(), "--set", "train.steps=9"});
  train(2, "parts", {"--set", "train.steps=24"});
  const auto parts = Losses(dir / "parts");
  ASSERT_EQ(parts.size(), 24u);
  train(1, "alone", {dir.config()});
  const auto alone = Losses(dir / "alone");
  for (uint64_t step = 1; step <= 9; ++step) EXPECT_NEAR(alone.at(step), straight.at(step), 1e-5);

  const Ended judged =
      RunJob(0, {"eval", "zero-shot", "--checkpoint", dir / "straight", "--dataset", dir / "data"});
  EXPECT_NE(judged.code, 0);
  EXPECT_THAT(judged.output, HasSubstr("E-DATA-SYNTHETIC"));
}

}  // namespace
}  // namespace contrail::worker
