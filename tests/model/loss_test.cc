// The sharded loss against the dense fp64 definition, on 1 to 8 ranks simulated in one process.

#include "model/contrastive_loss.h"

#include <gtest/gtest.h>

#include "tests/model/loss_oracle.h"
#include "tests/model/sharded.h"

namespace contrail::model {
namespace {

ShardedResult Sharded(const Features& features, double scale, int ranks, int64_t tile) {
  return ShardedLoss("clip", features, {.scale = scale}, ranks, tile);
}

// fp32 cosines carry an error of some 3e-8, which the scale multiplies inside the exponential;
// so gradients agree to 1e-6 up to the initial scale and to 1e-5 at 100. The loss is a mean of
// logits, its derivative by the scale a mean of cosines: their errors are absolute.
double GradientTolerance(double scale) { return scale > 20 ? 1e-5 : 1e-6; }
double LossTolerance(double loss, double scale) {
  return 1e-6 * std::max(1.0, loss) + 3e-8 * scale;
}
double DScaleTolerance(double scale) { return GradientTolerance(scale) * 0.1; }

void ExpectAgrees(const ShardedResult& sharded, const DenseLoss& dense, double scale) {
  const double tolerance = GradientTolerance(scale);
  int64_t image_to_text = 0;
  int64_t text_to_image = 0;
  for (const LossOutput& output : sharded.outputs) {
    EXPECT_NEAR(output.loss, dense.loss, LossTolerance(dense.loss, scale));
    EXPECT_NEAR(output.d_scale, dense.d_scale, DScaleTolerance(scale));
    EXPECT_EQ(output.loss, sharded.outputs[0].loss) << "ranks disagree";
    EXPECT_EQ(output.d_scale, sharded.outputs[0].d_scale) << "ranks disagree";
    image_to_text += output.correct_image_to_text;
    text_to_image += output.correct_text_to_image;
  }
  EXPECT_LT(RelativeError(sharded.d_image, dense.d_image), tolerance);
  EXPECT_LT(RelativeError(sharded.d_text, dense.d_text), tolerance);
  EXPECT_EQ(image_to_text, dense.correct_image_to_text);
  EXPECT_EQ(text_to_image, dense.correct_text_to_image);
}

const double kInitialScale = static_cast<float>(1 / 0.07);

TEST(Loss, AgreesWithDenseForEveryRankCountAndTileSize) {
  for (double scale : {1.0, kInitialScale, 100.0}) {
    for (int64_t B : {8, 64, 200, 296}) {
      const Features features = MakeFeatures(B, 48, 0.4, 7 * B);
      const DenseLoss dense = DenseContrastiveLoss(features.image, features.text, scale);
      for (int ranks : {1, 2, 4, 8}) {
        for (int64_t tile : {16, 24, 100, 1024}) {
          SCOPED_TRACE(testing::Message() << "scale " << scale << " B " << B << " ranks " << ranks
                                          << " tile " << tile);
          ExpectAgrees(Sharded(features, scale, ranks, tile), dense, scale);
        }
      }
    }
  }
}

TEST(Loss, BatchesThatNoTileDivides) {
  for (int64_t B : {1, 2, 9, 17, 131, 300}) {
    const Features features = MakeFeatures(B, 40, 0.5, B);
    const DenseLoss dense = DenseContrastiveLoss(features.image, features.text, kInitialScale);
    const ShardedResult result = Sharded(features, kInitialScale, 1, 64);
    if (B == 1) {  // no negatives: nothing to learn
      EXPECT_NEAR(result.outputs[0].loss, 0, 1e-12);
      EXPECT_LT(result.d_image.abs().max().item<double>(), 1e-12);
      continue;
    }
    SCOPED_TRACE(testing::Message() << "B " << B);
    ExpectAgrees(result, dense, kInitialScale);
  }
}

TEST(Loss, NearlySolvedBatchKeepsItsTinyGradient) {
  // p_ii differs from 1 by less than fp32 can say; its complement must not be lost.
  const Features features = MakeFeatures(64, 64, 0.54, 3);
  const DenseLoss dense = DenseContrastiveLoss(features.image, features.text, 100);
  ASSERT_LT(dense.loss, 1e-6);
  ASSERT_GT(dense.loss, 1e-10);  // the fp64 definition itself knows it to 1e-14
  for (int ranks : {1, 4}) {
    const ShardedResult result = Sharded(features, 100, ranks, 32);
    EXPECT_NEAR(result.outputs[0].loss, dense.loss, 1e-5 * dense.loss + 1e-14);
    EXPECT_LT(RelativeError(result.d_image, dense.d_image), 2e-5);
    EXPECT_LT(RelativeError(result.d_text, dense.d_text), 2e-5);
  }
}

TEST(Loss, DuplicatesCountAsTheirTwin) {
  Features features = MakeFeatures(32, 24, 0.9, 5);
  const int64_t distinct_correct =
      Sharded(features, kInitialScale, 1, 1024).outputs[0].correct_image_to_text;
  ASSERT_GT(distinct_correct, 0);
  for (int64_t i = 1; i < 32; i += 2) {
    features.image[i].copy_(features.image[i - 1]);
    features.text[i].copy_(features.text[i - 1]);
  }
  const DenseLoss dense = DenseContrastiveLoss(features.image, features.text, kInitialScale);
  const DenseLoss single =
      DenseContrastiveLoss(features.image, features.text, kInitialScale, at::kFloat);
  for (int ranks : {1, 4}) {
    const ShardedResult result = Sharded(features, kInitialScale, ranks, 1024);
    EXPECT_NEAR(result.outputs[0].loss, dense.loss, 1e-6);
    // The pulls of the two copies cancel but for a remainder that fp32 knows to 1e-5 only.
    EXPECT_LT(RelativeError(result.d_image, dense.d_image),
              1.5 * RelativeError(single.d_image, dense.d_image));
    EXPECT_LT(RelativeError(result.d_text, dense.d_text),
              1.5 * RelativeError(single.d_text, dense.d_text));
    int64_t correct = 0;
    for (const LossOutput& output : result.outputs) correct += output.correct_image_to_text;
    EXPECT_EQ(correct % 2, 0);  // a pair of twins is right or wrong together
    EXPECT_GT(correct, 0);
  }
}

TEST(Loss, CollapsedFeaturesGiveLogBatch) {
  Features features = MakeFeatures(64, 16, 1, 9);
  features.image.copy_(features.image[0].expand({64, 16}).clone());
  features.text.copy_(features.image);
  const ShardedResult result = Sharded(features, 100, 1, 1024);
  EXPECT_NEAR(result.outputs[0].loss, std::log(64.0), 1e-5);
}

// At scale 100 logits may be so low that every exp(l - 50) of a row underflows.
TEST(Loss, UnderflowingSumsTakeTheShiftedPath) {
  const int64_t B = 48;
  Features opposed = MakeFeatures(B, 32, 0.5, 11);
  // Every text nearly opposite to every image: all cosines near -1.
  at::Tensor axis = at::zeros({32}, at::kFloat);
  axis[0] = 4;
  const auto unit = [](const at::Tensor& x) { return (x / x.norm(2, {1}, true)).contiguous(); };
  opposed.image = unit(opposed.image + axis);
  opposed.text = unit(opposed.text - axis);
  const at::Tensor cosines = at::mm(opposed.image, opposed.text.t());
  ASSERT_LT(cosines.max().item<double>(), -0.6);  // exp(-60 - 50) = 1.7e-48: zero in fp32

  // One row and one column only.
  Features single = MakeFeatures(B, 32, 0.5, 12);
  single.text.narrow(1, 0, 1).abs_();
  single.image.narrow(1, 0, 1).abs_();
  single.text = unit(single.text + axis);
  single.image = unit(single.image + 0.1 * axis);
  single.image[5].copy_(-axis / 4);

  for (const Features& features : {opposed, single}) {
    const DenseLoss dense = DenseContrastiveLoss(features.image, features.text, 100);
    for (int ranks : {1, 2, 4, 8}) {
      for (int64_t tile : {16, 1024}) {
        SCOPED_TRACE(testing::Message() << "ranks " << ranks << " tile " << tile);
        ExpectAgrees(Sharded(features, 100, ranks, tile), dense, 100);
      }
    }
  }
}

TEST(Loss, OrthogonalFeatures) {
  Features features;
  features.image = at::eye(32, at::kFloat);
  features.text = at::eye(32, at::kFloat).roll(1, 0).contiguous();  // positives are orthogonal too
  const DenseLoss dense = DenseContrastiveLoss(features.image, features.text, 100);
  for (int ranks : {1, 4}) ExpectAgrees(Sharded(features, 100, ranks, 16), dense, 100);
}

TEST(Loss, RepeatsBitForBit) {
  const Features features = MakeFeatures(200, 48, 0.3, 21);
  for (int ranks : {1, 4}) {
    const ShardedResult a = Sharded(features, kInitialScale, ranks, 64);
    const ShardedResult b = Sharded(features, kInitialScale, ranks, 64);
    EXPECT_EQ(a.outputs[0].loss, b.outputs[0].loss);
    EXPECT_EQ(a.outputs[0].d_scale, b.outputs[0].d_scale);
    EXPECT_TRUE(at::equal(a.d_image, b.d_image));
    EXPECT_TRUE(at::equal(a.d_text, b.d_text));
  }
}

TEST(Loss, NotANumberIsPassedOn) {
  Features features = MakeFeatures(16, 16, 0.3, 22);
  features.image[3][2] = NAN;
  EXPECT_TRUE(std::isnan(Sharded(features, 10, 1, 1024).outputs[0].loss));
}

// The yardstick of fp32: the dense form in fp32 is not nearer to the fp64 one than ours.
TEST(Loss, NoWorseThanDenseSinglePrecision) {
  const Features features = MakeFeatures(256, 128, 0.4, 23);
  for (double scale : {kInitialScale, 100.0}) {
    const DenseLoss exact = DenseContrastiveLoss(features.image, features.text, scale);
    const DenseLoss single = DenseContrastiveLoss(features.image, features.text, scale, at::kFloat);
    const ShardedResult ours = Sharded(features, scale, 4, 1024);
    EXPECT_LT(RelativeError(ours.d_image, exact.d_image),
              1.5 * RelativeError(single.d_image, exact.d_image));
    EXPECT_LT(RelativeError(ours.d_text, exact.d_text),
              1.5 * RelativeError(single.d_text, exact.d_text));
  }
}

}  // namespace
}  // namespace contrail::model
