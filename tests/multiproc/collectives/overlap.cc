// Training steps with collectives under way behind the towers: the same bits as without.

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/multiproc/collectives/mpi_main.h"
#include "tests/worker/noise.h"
#include "worker/step.h"

namespace contrail::worker {
namespace {

constexpr int64_t kBatch = 32;

// This rank's share of noise images with captions of 3 to 12 tokens.
data::Batch NoiseBatch(uint64_t step) {
  const int64_t share = kBatch / World().size();
  data::Batch batch = NoBatch();
  for (int64_t i = 0; i < share; ++i) {
    RandomStream draws(3, step, static_cast<uint64_t>(World().rank() * share + i));
    AddNoise(draws, &batch);
  }
  return batch;
}

struct Trained {
  std::vector<double> losses;
  std::vector<float> weights, exp_avg;  // whole; own
};

Trained Train(const char* name, TrainStep::Options options, at::ScalarType type = at::kFloat) {
  const c10::InferenceMode no_autograd;
  const auto model = model::ClipModel::Create(model::FindModel(name));
  FlatParams flat(model->params(), World().rank(), World().size(),
                  {.bucket_bytes = 1 << 20, .matrix_type = type});
  EXPECT_GT(flat.num_buckets(), 4);
  for (size_t i = 0; i < model->params().size(); ++i) {
    at::Tensor weight = at::empty(model->params()[i].shape, at::kFloat);
    model::InitParam(model->params()[i], 1, weight);
    flat.SetWeight(i, weight);
  }
  model->Bind(flat.views());
  options.global_batch_size = kBatch;
  options.grad_clip_norm = 0.5;
  RandomStream delays(options.overlap, static_cast<uint64_t>(World().rank()), 0);
  Trained trained;
  {
    TrainStep step(World(), *model, flat, options);
    for (uint64_t update = 1; update <= 5; ++update) {
      monitor::StepTimes times;
      const data::Batch batch = NoiseBatch(update);
      step.Encode(batch, times);
      std::this_thread::sleep_for(std::chrono::milliseconds(delays.NextBelow(15)));
      step.Gather(times);
      trained.losses.push_back(step.Loss(times).loss);
      step.Backward(times);
      at::Tensor squares = at::full({1}, step.OwnGradSquares(), at::kDouble);
      World().AllReduceSum(squares);
      step.Update(update, 1e-3, std::sqrt(squares.item<double>()), times);
      EXPECT_GE(times.forward, 0);
      EXPECT_GE(times.grad_reduce, 0);
      EXPECT_GE(times.weight_gather, 0);
    }
    step.WaitForWeights();
    trained.weights.resize(flat.num_elements());
    flat.ExportWeights(trained.weights.data());
    trained.exp_avg.resize(flat.own_elements());
    flat.ExportOwn(1, trained.exp_avg.data());
  }
  return trained;
}

void ExpectSame(const Trained& a, const Trained& b) {
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_TRUE(a.weights == b.weights);
  EXPECT_TRUE(a.exp_avg == b.exp_avg);
}

TEST(Overlap, SameBitsAsWithout) {
  ExpectSame(Train("tiny-vit", {.overlap = true}), Train("tiny-vit", {.overlap = false}));
}

TEST(Overlap, SameBitsAsWithoutInMicroBatches) {
  const int64_t micro = std::max<int64_t>(1, kBatch / World().size() / 2);
  ExpectSame(Train("tiny-vit", {.micro_batch_size = micro, .overlap = true}),
             Train("tiny-vit", {.micro_batch_size = micro, .overlap = false}));
}

TEST(Overlap, RanksHoldTheSameWeights) {
  const Trained trained = Train("tiny-vit", {.logit_scale_max = 14.3});  // starts at 14.29
  at::Tensor of_root = at::tensor(trained.weights);
  World().Broadcast(of_root, 0);
  EXPECT_TRUE(at::equal(of_root, at::tensor(trained.weights)));
  EXPECT_LE(trained.weights.back(), static_cast<float>(std::log(14.3)));
}

TEST(Overlap, GradientsMayTravelAsBFloat16) {
  const TrainStep::Options rounded{.overlap = true, .gradients = Wire::kBFloat16};
  const Trained exact = Train("tiny-vit", {});
  const Trained a = Train("tiny-vit", rounded);
  ExpectSame(a, Train("tiny-vit", {.overlap = false, .gradients = Wire::kBFloat16}));
  EXPECT_EQ(a.losses[0], exact.losses[0]);
  EXPECT_NE(a.losses[4], exact.losses[4]);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(a.losses[i], exact.losses[i], 0.02) << i;
}

}  // namespace
}  // namespace contrail::worker
