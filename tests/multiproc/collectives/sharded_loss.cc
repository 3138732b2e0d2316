// The sharded loss over real MPI ranks against its dense fp64 definition.

#include <gtest/gtest.h>

#include "model/loss.h"
#include "tests/model/loss_oracle.h"
#include "tests/multiproc/collectives/mpi_main.h"

namespace contrail::worker {
namespace {

void ExpectAgrees(const model::Features& features, double scale, double tolerance,
                  const std::string& name = "clip", double bias = 0) {
  const int64_t B = features.image.size(0);
  const int64_t D = features.image.size(1);
  const int64_t b = B / World().size();
  const int64_t offset = World().rank() * b;
  // Both towers in one gather, as a training step does it.
  at::Tensor packed =
      at::cat({features.image.narrow(0, offset, b), features.text.narrow(0, offset, b)}, 1);
  at::Tensor gathered = at::empty({B, 2 * D}, at::kFloat);
  World().AllGather(gathered, packed);

  model::LossInput input;
  input.image = packed.narrow(1, 0, D).contiguous();
  input.text = packed.narrow(1, D, D).contiguous();
  input.image_all = gathered.narrow(1, 0, D);
  input.text_all = gathered.narrow(1, D, D);
  input.offset = offset;
  input.scale = scale;
  input.bias = bias;
  at::Tensor d_image = at::empty({b, D}, at::kFloat);
  at::Tensor d_text = at::empty({b, D}, at::kFloat);
  const std::unique_ptr<model::Loss> loss = model::MakeLoss(name, b, B, D, 64);
  const model::LossOutput output = loss->Compute(
      input, d_image, d_text, [](at::Tensor tensor) { World().AllReduceSum(tensor); });

  const model::DenseLoss dense =
      name == "clip" ? model::DenseContrastiveLoss(features.image, features.text, scale)
                     : model::DenseSigmoidLoss(features.image, features.text, scale, bias);
  EXPECT_NEAR(output.loss, dense.loss, 1e-6 * std::max(1.0, dense.loss) + 3e-8 * scale);
  EXPECT_NEAR(output.d_scale, dense.d_scale, 0.1 * tolerance * std::max(1.0, dense.loss));
  EXPECT_NEAR(output.d_bias, dense.d_bias, 0.1 * tolerance);
  at::Tensor d_image_all = at::empty({B, D}, at::kFloat);
  at::Tensor d_text_all = at::empty({B, D}, at::kFloat);
  World().AllGather(d_image_all, d_image);
  World().AllGather(d_text_all, d_text);
  EXPECT_LT(model::RelativeError(d_image_all, dense.d_image), tolerance);
  EXPECT_LT(model::RelativeError(d_text_all, dense.d_text), tolerance);
  at::Tensor correct = at::full({2}, output.correct_image_to_text, at::kLong);
  correct[1] = output.correct_text_to_image;
  World().AllReduceSum(correct);
  EXPECT_EQ(correct[0].item<int64_t>(), dense.correct_image_to_text);
  EXPECT_EQ(correct[1].item<int64_t>(), dense.correct_text_to_image);
}

TEST(ShardedLoss, AgreesWithDense) {
  for (int64_t B : {8, 64, 296}) {
    const model::Features features = model::MakeFeatures(B, 48, 0.4, 7 * B);
    ExpectAgrees(features, 1, 1e-6);
    ExpectAgrees(features, static_cast<float>(1 / 0.07), 1e-6);
    ExpectAgrees(features, 100, 1e-5);
  }
}

TEST(ShardedLoss, SigmoidAgreesWithDense) {
  for (int64_t B : {8, 64, 296}) {
    const model::Features features = model::MakeFeatures(B, 48, 0.4, 7 * B);
    ExpectAgrees(features, 10, 1e-6, "siglip", -10);
    ExpectAgrees(features, 100, 1e-5, "siglip", -20);
  }
}

TEST(ShardedLoss, ShiftedPath) {
  model::Features features = model::MakeFeatures(64, 32, 0.5, 11);
  features.image.narrow(1, 0, 1) += 4;
  features.text.narrow(1, 0, 1) -= 4;
  features.image /= features.image.norm(2, {1}, true);
  features.text /= features.text.norm(2, {1}, true);
  ExpectAgrees(features, 100, 1e-5);
}

}  // namespace
}  // namespace contrail::worker
