// A ResNet's losses, gradients and running statistics are the same on any number of ranks and with
// gradient caching: batch norm takes its statistics over fixed groups of the global batch.

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "common/rng.h"
#include "data/tokenizer.h"
#include "model/clip.h"
#include "tests/multiproc/collectives/mpi_main.h"
#include "worker/flat.h"
#include "worker/statistics.h"
#include "worker/step.h"

namespace contrail::worker {
namespace {

constexpr int64_t kBatch = 64;
constexpr int64_t kGroup = 4;
constexpr int64_t kSide = 32;
constexpr int64_t kTokens = 6;  // a caption's length, start and end included

model::ModelSpec Spec() {
  model::ModelSpec spec = model::FindModel("tiny-rn");
  spec.resnet.bn_group_size = kGroup;
  return spec;
}

// Samples [first, first + count) of global batch `step`.
data::Batch BatchOf(uint64_t step, int64_t first, int64_t count) {
  data::Batch batch;
  batch.num_samples = count;
  batch.resolution = kSide;
  batch.text_offsets = {0};
  for (int64_t i = first; i < first + count; ++i) {
    RandomStream draws(step, static_cast<uint64_t>(i), 0);
    // Blocks of colour under noise, or the groups' statistics would all be alike.
    const uint64_t tone = draws.NextBelow(128);
    for (int64_t p = 0; p < 3 * kSide * kSide; ++p)
      batch.images.push_back(static_cast<uint8_t>(tone + draws.NextBelow(128)));
    batch.token_ids.push_back(data::kStartOfText);
    for (int64_t t = 1; t + 1 < kTokens; ++t)
      batch.token_ids.push_back(static_cast<int32_t>(draws.NextBelow(49406)));
    batch.token_ids.push_back(data::kEndOfText);
    batch.text_offsets.push_back(static_cast<int32_t>(batch.token_ids.size()));
  }
  return batch;
}

struct Replica {
  Replica(Comm& world, int64_t micro_batch_size)
      : comm(world),
        model(model::ClipModel::Create(Spec())),
        flat(model->params(), comm.rank(), comm.size(), {.bucket_bytes = 1 << 20}),
        statistics(model->buffers()) {
    for (size_t i = 0; i < model->params().size(); ++i) {
      model::InitParam(model->params()[i], 5, flat.views().weights[i]);
      // The last gain of each block starts at zero; the branch behind it is to count here.
      if (model->params()[i].name.ends_with("bn3.weight")) flat.views().weights[i].fill_(0.7);
    }
    model::BoundParams bound = flat.views();
    bound.buffers = statistics.views();
    model->Bind(std::move(bound));
    step = std::make_unique<TrainStep>(
        comm, *model, flat,
        TrainStep::Options{.global_batch_size = kBatch, .micro_batch_size = micro_batch_size});
  }

  // Forward, loss and backward of one global batch; the gradient stays in the buckets, whole.
  double Gradients(uint64_t number) {
    const int64_t share = kBatch / comm.size();
    monitor::StepTimes times;
    batch = BatchOf(number, comm.rank() * share, share);
    step->Encode(batch, times);
    step->Gather(times);
    const double loss = step->Loss(times).loss;
    step->Backward(times);
    return loss;
  }
  double Train(uint64_t number, double lr) {
    const double loss = Gradients(number);
    monitor::StepTimes times;
    step->Update(number, lr, 1, times);
    return loss;
  }

  Comm& comm;
  std::unique_ptr<model::ClipModel> model;
  FlatParams flat;
  RunningStatistics statistics;
  std::unique_ptr<TrainStep> step;
  data::Batch batch;  // read until the backward has returned
};

// Relative to each parameter's gradient; where that is rounding only, to gradients at large.
void ExpectSameGradients(Replica& actual, Replica& expected) {
  for (Replica* replica : {&actual, &expected}) {
    for (int bucket = 0; bucket < replica->flat.num_buckets(); ++bucket) {
      replica->comm.AllGather(replica->flat.grads(bucket), replica->flat.own_grads(bucket));
    }
  }
  const auto& params = expected.model->params();
  for (size_t i = 0; i < params.size(); ++i) {
    const at::Tensor want = expected.flat.views().grads[i];
    const double error = (actual.flat.views().grads[i] - want).norm().item<double>();
    EXPECT_LT(error, 1e-5 * want.norm().item<double>() + 1e-6) << params[i].name;
  }
}

class BatchNorm : public testing::TestWithParam<int64_t> {};

// The parameter: samples to a micro-batch, 0 = the whole share.
TEST_P(BatchNorm, GradientsEqualThoseOfOneRank) {
  const c10::InferenceMode inference;
  const auto alone = MakeSingleComm();
  Replica whole(*alone, 0);
  Replica shard(World(), GetParam());
  const double expected = whole.Gradients(1);
  EXPECT_NEAR(shard.Gradients(1), expected, 1e-6 * expected);
  ExpectSameGradients(shard, whole);
}

TEST_P(BatchNorm, LossesAndStatisticsOverStepsEqualThoseOfOneRank) {
  const c10::InferenceMode inference;
  const auto alone = MakeSingleComm();
  Replica whole(*alone, 0);
  Replica shard(World(), GetParam());
  for (uint64_t number = 1; number <= 4; ++number) {
    // Adam turns rounding of tiny gradients into signs; small steps keep that out of sight.
    const double expected = whole.Train(number, 1e-5);
    EXPECT_NEAR(shard.Train(number, 1e-5), expected, 1e-5 * expected) << number;
  }
  if (World().size() > 1) {  // ranks' own statistics differ until they are averaged
    at::Tensor of_root = shard.statistics.views()[0].clone();
    World().Broadcast(of_root, 0);
    if (World().rank() > 0) {
      EXPECT_FALSE(at::equal(of_root, shard.statistics.views()[0]));
    }
  }
  shard.statistics.Average(World());
  const auto& specs = whole.statistics.specs();
  for (size_t i = 0; i < specs.size(); ++i) {
    const at::Tensor want = whole.statistics.views()[i];
    const double error = (shard.statistics.views()[i] - want).norm().item<double>();
    EXPECT_LT(error, 2e-5 * want.norm().item<double>() + 1e-7) << specs[i].name;
    EXPECT_FALSE(at::equal(want, at::full_like(want, specs[i].initial))) << specs[i].name;
  }
}

TEST(BatchNormTest, ADroppedStepLeavesTheStatisticsAlone) {
  const c10::InferenceMode inference;
  Replica shard(World(), kGroup);
  shard.Train(1, 1e-5);
  const std::vector<ckpt::NamedArray> before = shard.statistics.Export();
  shard.Gradients(2);
  shard.model->DropStatistics();
  shard.model->FoldStatistics();
  const std::vector<ckpt::NamedArray> after = shard.statistics.Export();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i].data, after[i].data);
}

INSTANTIATE_TEST_SUITE_P(MicroBatches, BatchNorm, testing::Values(0, kGroup, 2 * kGroup),
                         [](const auto& test) { return "Of" + std::to_string(test.param); });

}  // namespace
}  // namespace contrail::worker
