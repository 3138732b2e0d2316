// SigLIP's loss, sharded, against the dense fp64 definition.

#include <gtest/gtest.h>

#include "tests/model/loss_oracle.h"
#include "tests/model/sharded.h"

namespace contrail::model {
namespace {

// As in loss_test.cc: the error of an fp32 cosine, 3e-8, times the scale.
double Tolerance(double scale) { return scale > 20 ? 1e-5 : 1e-6; }

void ExpectAgrees(const Features& features, const Logits& logits, int ranks, int64_t tile) {
  SCOPED_TRACE(testing::Message() << "scale " << logits.scale << " bias " << logits.bias
                                  << " ranks " << ranks << " tile " << tile);
  const DenseLoss dense =
      DenseSigmoidLoss(features.image, features.text, logits.scale, logits.bias);
  const ShardedResult sharded = ShardedLoss("siglip", features, logits, ranks, tile);
  const double tolerance = Tolerance(logits.scale);
  int64_t image_to_text = 0;
  int64_t text_to_image = 0;
  for (const LossOutput& output : sharded.outputs) {
    EXPECT_NEAR(output.loss / dense.loss, 1, tolerance);
    EXPECT_NEAR(output.d_scale, dense.d_scale, tolerance * std::max(0.1, std::abs(dense.d_scale)));
    EXPECT_NEAR(output.d_bias, dense.d_bias, tolerance * std::max(0.1, std::abs(dense.d_bias)));
    EXPECT_EQ(output.loss, sharded.outputs[0].loss) << "ranks disagree";
    EXPECT_EQ(output.d_scale, sharded.outputs[0].d_scale) << "ranks disagree";
    EXPECT_EQ(output.d_bias, sharded.outputs[0].d_bias) << "ranks disagree";
    image_to_text += output.correct_image_to_text;
    text_to_image += output.correct_text_to_image;
  }
  EXPECT_LT(RelativeError(sharded.d_image, dense.d_image), tolerance);
  EXPECT_LT(RelativeError(sharded.d_text, dense.d_text), tolerance);
  EXPECT_EQ(image_to_text, dense.correct_image_to_text);
  EXPECT_EQ(text_to_image, dense.correct_text_to_image);
}

TEST(SigmoidLoss, AgreesWithDenseForEveryRankCountAndTileSize) {
  // The paper's start, scores of both signs, and the largest scale.
  for (const Logits& logits : {Logits{10, -10}, Logits{1, 0.5}, Logits{30, 3}, Logits{100, -12}}) {
    for (int64_t B : {8, 64, 200, 296}) {
      const Features features = MakeFeatures(B, 48, 0.4, 7 * B);
      for (int ranks : {1, 2, 4, 8}) {
        for (int64_t tile : {16, 100, 1024}) ExpectAgrees(features, logits, ranks, tile);
      }
    }
  }
}

TEST(SigmoidLoss, BatchesThatNoTileDivides) {
  for (int64_t B : {1, 2, 9, 17, 131, 300}) {
    ExpectAgrees(MakeFeatures(B, 40, 0.5, B), {10, -10}, 1, 64);
  }
}

TEST(SigmoidLoss, FarLogitsNeitherOverflowNorVanish) {
  const Features features = MakeFeatures(64, 32, 0.9, 3);
  ExpectAgrees(features, {100, 60}, 4, 32);   // negatives cost their whole logit
  ExpectAgrees(features, {100, -60}, 4, 32);  // nearly every negative is at exp(-60)
}

TEST(SigmoidLoss, RepeatsBitForBit) {
  const Features features = MakeFeatures(200, 48, 0.3, 21);
  for (int ranks : {1, 4}) {
    const ShardedResult a = ShardedLoss("siglip", features, {10, -10}, ranks, 64);
    const ShardedResult b = ShardedLoss("siglip", features, {10, -10}, ranks, 64);
    EXPECT_EQ(a.outputs[0].loss, b.outputs[0].loss);
    EXPECT_EQ(a.outputs[0].d_bias, b.outputs[0].d_bias);
    EXPECT_TRUE(at::equal(a.d_image, b.d_image));
    EXPECT_TRUE(at::equal(a.d_text, b.d_text));
  }
}

TEST(SigmoidLoss, NotANumberIsPassedOn) {
  Features features = MakeFeatures(16, 16, 0.3, 22);
  features.image[3][2] = NAN;
  EXPECT_TRUE(std::isnan(ShardedLoss("siglip", features, {10, -10}, 1, 1024).outputs[0].loss));
}

}  // namespace
}  // namespace contrail::model
