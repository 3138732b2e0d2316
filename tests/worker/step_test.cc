// The training step: gradient caching, counting the logit scale once, and learning at all.
#include "worker/step.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/registry.h"
#include "tests/worker/noise.h"
#include "worker/comm/comm.h"

namespace contrail::worker {
namespace {

constexpr int64_t kBatch = 32;

// Noise images with captions of 3 to 12 tokens.
data::Batch NoiseBatch(uint64_t seed) {
  RandomStream draws(seed, 0, 0);
  data::Batch batch = NoBatch();
  for (int64_t i = 0; i < kBatch; ++i) AddNoise(draws, &batch);
  return batch;
}

model::ModelSpec TinyVit(const std::string& loss) {
  model::ModelSpec spec = model::FindModel("tiny-vit");
  spec.loss = loss;
  return spec;
}

struct Rig {
  explicit Rig(int64_t micro_batch_size, const std::string& loss = "clip",
               at::ScalarType type = at::kFloat, LossScale loss_scale = {})
      : comm(MakeSingleComm()),
        model(model::ClipModel::Create(TinyVit(loss))),
        flat(model->params(), 0, 1, {.bucket_bytes = 4 << 20, .matrix_type = type}) {
    for (size_t i = 0; i < model->params().size(); ++i) {
      at::Tensor value = at::empty(model->params()[i].shape);
      model::InitParam(model->params()[i], 1, value);
      flat.SetWeight(i, value);
    }
    model->Bind(flat.views());
    step = std::make_unique<TrainStep>(*comm, *model, flat,
                                       TrainStep::Options{.global_batch_size = kBatch,
                                                          .micro_batch_size = micro_batch_size,
                                                          .loss_scale = loss_scale});
  }
  double Train(uint64_t update, const data::Batch& batch, double lr = 1e-3) {
    monitor::StepTimes times;
    step->Encode(batch, times);
    step->Gather(times);
    const double loss = step->Loss(times).loss;
    step->Backward(times);
    step->Update(update, lr, std::sqrt(step->OwnGradSquares()), times);
    return loss;
  }
  std::vector<float> Weights() const {
    std::vector<float> weights(flat.num_elements());
    flat.ExportWeights(weights.data());
    return weights;
  }

  std::unique_ptr<Comm> comm;
  std::unique_ptr<model::ClipModel> model;
  FlatParams flat;
  std::unique_ptr<TrainStep> step;
};

class LossTest : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Every, LossTest, testing::Values("clip", "siglip"));

TEST_P(LossTest, GradientCachingEqualsOneBatch) {
  const c10::InferenceMode guard;
  Rig whole(0, GetParam());
  Rig cached(8, GetParam());
  // Gradients first: Adam's first steps would turn rounding of tiny gradients into signs.
  monitor::StepTimes times;
  const data::Batch first = NoiseBatch(1);
  for (Rig* rig : {&whole, &cached}) {
    rig->step->Encode(first, times);
    rig->step->Gather(times);
    rig->step->Loss(times);
    rig->step->Backward(times);
  }
  const double norm = std::sqrt(whole.step->OwnGradSquares());
  double difference = 0;
  for (int bucket = 0; bucket < whole.flat.num_buckets(); ++bucket) {
    difference +=
        (whole.flat.grads(bucket) - cached.flat.grads(bucket)).square().sum().item<double>();
  }
  EXPECT_GT(norm, 0.1);
  EXPECT_LT(std::sqrt(difference) / norm, 1e-6);
  for (uint64_t update = 1; update <= 3; ++update) {
    const data::Batch batch = NoiseBatch(update);
    const double expected = whole.Train(update, batch);
    EXPECT_NEAR(cached.Train(update, batch) / expected, 1, 1e-6) << update;
  }
  const std::vector<float> a = whole.Weights();
  const std::vector<float> b = cached.Weights();
  double squares = 0;
  double differences = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    squares += static_cast<double>(a[i]) * a[i];
    differences += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  EXPECT_LT(std::sqrt(differences / squares), 1e-6);
}

// Scale and bias belong to no tower: their gradients are the step's own work.
TEST_P(LossTest, GradientsOfTheLogitsAreSlopesOfTheLoss) {
  const c10::InferenceMode guard;
  Rig rig(0, GetParam());
  const data::Batch batch = NoiseBatch(4);
  monitor::StepTimes times;
  const auto& params = rig.model->params();
  int checked = 0;
  for (size_t i = 0; i < params.size(); ++i) {
    if (!params[i].name.starts_with("logit_")) continue;
    ++checked;
    at::Tensor weight = rig.flat.views().weights[i];
    const auto loss_at = [&](float value) {
      weight.fill_(value);
      rig.step->Encode(batch, times);
      rig.step->Gather(times);
      return rig.step->Loss(times).loss;
    };
    const float at = weight.item<float>();
    const double slope = (loss_at(at + 0.01f) - loss_at(at - 0.01f)) / 0.02;
    loss_at(at);
    rig.step->Backward(times);
    EXPECT_NEAR(rig.flat.views().grads[i].item<float>() / slope, 1, 1e-3) << params[i].name;
  }
  EXPECT_EQ(checked, std::string(GetParam()) == "siglip" ? 2 : 1);
}

TEST_P(LossTest, LearnsABatchByHeart) {
  const c10::InferenceMode guard;
  Rig rig(0, GetParam());
  const data::Batch batch = NoiseBatch(9);
  const double first = rig.Train(1, batch);
  for (uint64_t update = 2; update <= 60; ++update) rig.Train(update, batch);
  monitor::StepTimes times;
  rig.step->Encode(batch, times);
  rig.step->Gather(times);
  const model::LossOutput output = rig.step->Loss(times);
  // 3.5 = ln 32 for "clip"; 10 for "siglip", whose positives start at a logit of -10.
  EXPECT_LT(output.loss, first / 3);
  EXPECT_EQ(output.correct_image_to_text, kBatch);
  EXPECT_EQ(output.correct_text_to_image, kBatch);
}

struct Sixteen {
  const char* name;
  at::ScalarType type;
  LossScale scale;
};
class SixteenBits : public testing::TestWithParam<Sixteen> {};
INSTANTIATE_TEST_SUITE_P(Types, SixteenBits,
                         testing::Values(Sixteen{"bf16", at::kBFloat16, {}},
                                         Sixteen{"fp16", at::kHalf, LossScale::On()}),
                         [](const auto& tested) { return std::string(tested.param.name); });

// Eight batches over and over: the losses follow fp32's, down to where both have learned most of
// it.
TEST_P(SixteenBits, TrainsAsFp32Does) {
  const c10::InferenceMode guard;
  Rig exact(0), narrow(0, "clip", GetParam().type, GetParam().scale);
  constexpr double kRate = 3e-4;  // at which two runs do not part for reasons of their own
  double first = 0, last = 0, last_narrow = 0;
  for (uint64_t update = 1; update <= 64; ++update) {
    const data::Batch batch = NoiseBatch(update % 8);
    const double a = exact.Train(update, batch, kRate), b = narrow.Train(update, batch, kRate);
    if (update == 1) first = a;
    if (update <= 8) {
      EXPECT_NEAR(b / a, 1, 0.02) << update;
    }
    if (update > 56) {
      last += a / 8;
      last_narrow += b / 8;
    }
  }
  EXPECT_LT(last, 0.8 * first);
  EXPECT_NEAR(last_narrow / last, 1, 0.05);
  std::printf("mean loss of the last 8 of 64 steps: fp32 %.4f, %s %.4f\n", last, GetParam().name,
              last_narrow);
}

TEST_P(SixteenBits, GradientCachingIsTheSameBits) {
  const c10::InferenceMode guard;
  const data::Batch batch = NoiseBatch(3);
  Rig whole(0, "clip", GetParam().type, GetParam().scale);
  Rig cached(8, "clip", GetParam().type, GetParam().scale);
  EXPECT_NEAR(cached.Train(1, batch) / whole.Train(1, batch), 1, 1e-12);
  double difference = 0, norm = 0;
  for (int bucket = 0; bucket < whole.flat.num_buckets(); ++bucket) {
    const at::Tensor a = whole.flat.grads(bucket), b = cached.flat.grads(bucket);
    difference += (a - b).square().sum(at::kDouble).item<double>();
    norm += a.square().sum(at::kDouble).item<double>();
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-6);  // order of fp32 sums over micro-batches
}

// A scale so large that the first product of the backward overflows: the norm says so, nothing was
// touched, the scale comes down until it fits, and then training goes on.
TEST(Fp16, OverflowsAreSkippedAndTheScaleComesDown) {
  const c10::InferenceMode guard;
  Rig rig(0, "clip", at::kHalf, LossScale({LossScale::kMost, 0, 0}));
  const data::Batch batch = NoiseBatch(5);
  const std::vector<float> before = rig.Weights();
  monitor::StepTimes times;
  int overflows = 0;
  double norm = 0;
  while (true) {
    rig.step->Encode(batch, times);
    rig.step->Gather(times);
    EXPECT_TRUE(std::isfinite(rig.step->Loss(times).loss));
    rig.step->Backward(times);
    norm = std::sqrt(rig.step->OwnGradSquares());
    if (std::isfinite(norm)) break;
    ASSERT_TRUE(rig.step->ScaleOverflowed());
    rig.step->Skip();
    ASSERT_LT(++overflows, 24);
  }
  EXPECT_GT(overflows, 0);
  EXPECT_EQ(rig.step->loss_scale().value(), LossScale::kMost / std::pow(2.0, overflows));
  EXPECT_EQ(rig.Weights(), before);
  // Dividing by the scale gives the gradient that fp32 has.
  Rig exact(0);
  exact.step->Encode(batch, times);
  exact.step->Gather(times);
  exact.step->Loss(times);
  exact.step->Backward(times);
  EXPECT_NEAR(norm / std::sqrt(exact.step->OwnGradSquares()), 1, 2e-3);
  rig.step->Update(1, 1e-3, norm, times);
  EXPECT_NE(rig.Weights(), before);
  EXPECT_EQ(rig.step->loss_scale().state().good_steps, 1u);
}

}  // namespace
}  // namespace contrail::worker
