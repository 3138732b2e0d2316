#include "worker/micro_batch.h"

#include <gmock/gmock.h>

#include "model/registry.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

class MicroBatchTest : public testing::Test {
 protected:
  uint64_t ArenaOf(int64_t samples) {
    model_->Plan(samples, samples * 77, true);
    return static_cast<uint64_t>(model_->arena_bytes());
  }
  MicroBatch Choose(int64_t share, uint64_t memory, int64_t kept = 0) {
    return ChooseMicroBatch(config_, *model_, fixed_, share, memory, kept, &message_);
  }

  Config config_;
  std::unique_ptr<model::ClipModel> model_ = model::ClipModel::Create(model::FindModel("tiny-vit"));
  FixedMemory fixed_ = {.parameters = 1000, .program = 24};
  std::string message_;
};

TEST_F(MicroBatchTest, IsTheLargestDivisorThatFits) {
  const uint64_t twelve = ArenaOf(12);
  EXPECT_EQ(FitMicroBatch(*model_, 48, uint64_t{1} << 40).samples, 48);
  EXPECT_EQ(FitMicroBatch(*model_, 48, twelve).samples, 12);
  EXPECT_EQ(FitMicroBatch(*model_, 48, twelve).activations, twelve);
  EXPECT_EQ(FitMicroBatch(*model_, 48, twelve - 4096).samples, 8);
  EXPECT_EQ(FitMicroBatch(*model_, 48, twelve, 8).samples, 8) << "whole groups of 8";
  EXPECT_TRUE(FitMicroBatch(*model_, 48, ArenaOf(1)).fits);
  const MicroBatch least = FitMicroBatch(*model_, 48, 1);
  EXPECT_EQ(least.samples, 1);
  EXPECT_FALSE(least.fits);
}

TEST_F(MicroBatchTest, LeavesRoomForEverythingElse) {
  const uint64_t twelve = ArenaOf(12);
  EXPECT_EQ(Choose(48, twelve + 1024).samples, 12);
  EXPECT_THAT(message_, HasSubstr("encodes 12 of its 48 samples at once (auto)"));
  EXPECT_EQ(Choose(48, twelve + 1023).samples, 8);
  EXPECT_FALSE(Choose(48, 1024).fits);
  EXPECT_THAT(message_, HasSubstr("less than it needs"));
  EXPECT_FALSE(Choose(48, 10).fits) << "memory for less than what is fixed";
}

TEST_F(MicroBatchTest, WhatTheRunHadIsKeptWhereItFits) {
  const uint64_t plenty = uint64_t{1} << 40, twelve = ArenaOf(12) + 1024;
  EXPECT_EQ(Choose(48, plenty, 8).samples, 8) << "more would fit, and have other bits";
  EXPECT_THAT(message_, HasSubstr("encodes 8 of its 48 samples at once (as before)"));
  EXPECT_EQ(Choose(48, twelve, 24).samples, 12);
  EXPECT_THAT(message_, HasSubstr("(auto)"));
  EXPECT_EQ(Choose(48, plenty, 7).samples, 48) << "divides nothing";
  config_.train.micro_batch_size = 16;
  EXPECT_EQ(Choose(48, plenty, 8).samples, 16) << "the user's choice stands";
}

TEST_F(MicroBatchTest, TheUsersChoiceStandsAndIsMeasured) {
  config_.train.micro_batch_size = 16;
  EXPECT_EQ(Choose(48, uint64_t{1} << 40).samples, 16);
  EXPECT_THAT(message_, testing::Not(HasSubstr("auto")));
  const MicroBatch tight = Choose(48, ArenaOf(12));
  EXPECT_EQ(tight.samples, 16);
  EXPECT_EQ(tight.activations, ArenaOf(16));
  EXPECT_FALSE(tight.fits);
}

TEST_F(MicroBatchTest, FixedMemoryCountsWhatARankHolds) {
  config_.train.global_batch_size = 4096;
  config_.data.workers = 3;
  const FlatParams flat(model_->params(), 0, 4);
  const FixedMemory fixed = MeasureFixed(config_, model_->spec(), flat, 1024, 2);
  EXPECT_EQ(fixed.parameters, static_cast<uint64_t>(flat.bytes()));
  EXPECT_EQ(fixed.snapshot, 3 * 4 * static_cast<uint64_t>(flat.own_elements()));
  EXPECT_EQ(fixed.loader, uint64_t{6} * 1024 * (3 * 28 * 28 + 4 * 77));
  EXPECT_GT(fixed.features, uint64_t{4096} * 2 * 128 * 4);
  EXPECT_EQ(fixed.total(),
            fixed.parameters + fixed.snapshot + fixed.loader + fixed.features + fixed.program);
}

TEST_F(MicroBatchTest, RanksShareTheMachine) {
  const uint64_t alone = MemoryOfRank(1);
  EXPECT_GT(alone, uint64_t{1} << 28);
  EXPECT_LE(MemoryOfRank(8), alone / 8);
  EXPECT_GT(MemoryOfRank(8), alone / 9);
}

}  // namespace
}  // namespace contrail::worker
