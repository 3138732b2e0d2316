#include "worker/loss_scale.h"

#include <gtest/gtest.h>

namespace contrail::worker {
namespace {

TEST(LossScale, OffIsOneAndBlamesNobody) {
  LossScale scale;
  scale.Good();
  EXPECT_FALSE(scale.on());
  EXPECT_EQ(scale.value(), 1);
  EXPECT_FALSE(scale.Overflow());
  EXPECT_EQ(scale.value(), 1);
}

TEST(LossScale, HalvesOnOverflowAndDoublesAfterManyGoodSteps) {
  LossScale scale = LossScale::On();
  EXPECT_EQ(scale.value(), 65536);
  EXPECT_TRUE(scale.Overflow());
  EXPECT_EQ(scale.value(), 32768);
  for (uint64_t i = 1; i < LossScale::kGoodSteps; ++i) scale.Good();
  EXPECT_EQ(scale.value(), 32768);
  scale.Good();
  EXPECT_EQ(scale.value(), 65536);
  for (uint64_t i = 1; i < LossScale::kGoodSteps; ++i) scale.Good();
  EXPECT_TRUE(scale.Overflow());  // one step before it would have doubled
  for (uint64_t i = 1; i < LossScale::kGoodSteps; ++i) scale.Good();
  EXPECT_EQ(scale.value(), 32768);
  EXPECT_EQ(scale.state().overflows, 2u);
}

TEST(LossScale, StaysInItsRange) {
  LossScale scale = LossScale::On();
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(scale.Overflow());
  EXPECT_EQ(scale.value(), 1);
  EXPECT_FALSE(scale.Overflow()) << "the gradient itself is not finite";
  LossScale high({LossScale::kMost, LossScale::kGoodSteps - 1, 0});
  high.Good();
  EXPECT_EQ(high.value(), LossScale::kMost);
}

TEST(LossScale, ResumesWhereItWas) {
  LossScale scale = LossScale::On();
  scale.Overflow();
  for (int i = 0; i < 1500; ++i) scale.Good();
  LossScale again(scale.state());
  for (int i = 0; i < 500; ++i) {
    scale.Good();
    again.Good();
  }
  EXPECT_EQ(scale.value(), 65536);
  EXPECT_EQ(again.value(), scale.value());
  EXPECT_EQ(again.state().good_steps, scale.state().good_steps);
}

}  // namespace
}  // namespace contrail::worker
