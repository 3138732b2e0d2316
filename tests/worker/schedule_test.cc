#include "worker/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace contrail::worker {
namespace {

TEST(Schedule, HandValues) {
  const Schedule schedule = {.peak = 8e-4, .warmup_steps = 4, .total_steps = 12};
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 0), 2e-4);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 1), 4e-4);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 3), 8e-4);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 4), 8e-4);                                // cos 0
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 6), 4e-4 * (1 + std::sqrt(0.5)));         // pi / 4
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 8), 4e-4);                                // pi / 2
  EXPECT_NEAR(LearningRate(schedule, 11), 4e-4 * (1 - std::cos(M_PI / 8)), 1e-18);  // 7 pi / 8
  EXPECT_EQ(LearningRate(schedule, 12), 0);
  EXPECT_EQ(LearningRate(schedule, 1000), 0);
}

TEST(Schedule, WithoutWarmUpStartsAtThePeak) {
  EXPECT_DOUBLE_EQ(LearningRate({.peak = 1, .warmup_steps = 0, .total_steps = 10}, 0), 1);
}

TEST(Schedule, WarmUpLongerThanTheRunNeverReachesThePeak) {
  const Schedule schedule = {.peak = 1, .warmup_steps = 100, .total_steps = 10};
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 9), 0.1);
}

TEST(Schedule, FallsFromThePeakOn) {
  const Schedule schedule = {.peak = 5e-4, .warmup_steps = 2000, .total_steps = 40000};
  for (uint64_t step = 2000; step + 1 < 40000; step += 997) {
    EXPECT_GT(LearningRate(schedule, step), LearningRate(schedule, step + 1));
  }
  EXPECT_GT(LearningRate(schedule, 39999), 0);
}

}  // namespace
}  // namespace contrail::worker
