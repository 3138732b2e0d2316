#include "worker/phases.h"

#include <gtest/gtest.h>

#include "common/error.h"
#include "worker/resume.h"

namespace contrail::worker {
namespace {

model::ModelSpec Tiny() { return model::FindModel("tiny-vit"); }

TEST(PhasePlanTest, WithoutPhasesTheRunIsOne) {
  Config config;
  config.train.epochs = 2.5;
  config.train.lr = 1;
  config.train.warmup_steps = 10;
  const PhasePlan plan(config, Tiny(), 100);
  EXPECT_EQ(plan.total_steps(), 250u);
  EXPECT_DOUBLE_EQ(plan.LearningRate(0), 0.1);
  EXPECT_DOUBLE_EQ(plan.LearningRate(9), 1);
  EXPECT_NEAR(plan.LearningRate(130), 0.5, 1e-12);  // half of the cosine
}

TEST(PhasePlanTest, EachPhaseHasItsOwnWarmUpAndCosine) {
  Config config;
  config.train.lr = 1;
  config.train.warmup_steps = 0;
  config.phase = {{.steps = 10}, {.epochs = 1, .resolution = 28, .lr = 0.5, .warmup_steps = 2}};
  const PhasePlan plan(config, Tiny(), 20);
  EXPECT_EQ(plan.total_steps(), 30u);
  EXPECT_EQ(plan.IndexOf(9), 0u);
  EXPECT_EQ(plan.IndexOf(10), 1u);
  EXPECT_EQ(plan.IndexOf(30), 1u);
  EXPECT_DOUBLE_EQ(plan.LearningRate(0), 1);
  EXPECT_LT(plan.LearningRate(9), 0.05);
  EXPECT_DOUBLE_EQ(plan.LearningRate(10), 0.25);
  EXPECT_DOUBLE_EQ(plan.LearningRate(11), 0.5);
}

TEST(PhasePlanTest, AnotherResolutionIsRefused) {
  Config config;
  config.phase = {{.steps = 10, .resolution = 336}};
  EXPECT_THROW(PhasePlan(config, Tiny(), 20), Error);
}

TEST(TrainingChangesTest, NamesKeysThatTrainAndOnlyThose) {
  const std::string before =
      "[train]\nlr = 0.001  # a.toml:3\nsteps = 24  # a.toml:4\n[launcher]\nranks = 4  # default\n"
      "\n[[phase]]\nlr = 0.1\n";
  const std::string after =
      "[train]\nlr = 0.002  # --set\nsteps = 24  # --set\n[launcher]\nranks = 2  # --set\n"
      "\n[[phase]]\nlr = 0.1\n\n[[phase]]\nsteps = 3\n";
  EXPECT_EQ(
      TrainingChanges(before, after),
      (std::vector<std::string>{"train.lr: 0.001 -> 0.002", "phase 2.steps: (default) -> 3"}));
}

}  // namespace
}  // namespace contrail::worker
