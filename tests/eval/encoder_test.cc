// What an encoder makes of a ResNet: features by running statistics, so that an image's do not
// depend on its neighbours in the batch.
#include "eval/encoder.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "common/rng.h"
#include "eval/weights.h"
#include "model/registry.h"

namespace contrail::eval {
namespace {

data::Batch Noise(int64_t count) {
  data::Batch batch;
  batch.num_samples = count;
  batch.resolution = 32;
  for (int64_t i = 0; i < count; ++i) {
    RandomStream draws(3, static_cast<uint64_t>(i), 0);
    for (int64_t p = 0; p < 3 * 32 * 32; ++p)
      batch.images.push_back(static_cast<uint8_t>(draws.NextBelow(256)));
  }
  return batch;
}

struct Parts {
  model::ModelSpec spec = model::FindModel("tiny-rn");
  at::Tensor weights;
  std::vector<at::Tensor> buffers;
};

// `variance`: of every norm.
Parts MakeParts(double variance) {
  Parts parts;
  const auto model = model::ClipModel::Create(parts.spec);
  const ckpt::Layout layout = LayoutOf(model->params());
  parts.weights = at::zeros({static_cast<int64_t>(layout.num_elements)}, at::kFloat);
  const std::vector<at::Tensor> views = ViewsOf(parts.weights, layout);
  for (size_t i = 0; i < views.size(); ++i) model::InitParam(model->params()[i], 9, views[i]);
  for (const model::BufferSpec& spec : model->buffers()) {
    parts.buffers.push_back(
        at::full(spec.shape, spec.name.ends_with("var") ? variance : 0.0, at::kFloat));
  }
  return parts;
}

TEST(EncoderTest, ResnetsUseTheirRunningStatistics) {
  const c10::InferenceMode guard;
  const Parts parts = MakeParts(0.5);
  const auto tokenizer = data::Tokenizer::Load();
  Encoder encoder(parts.spec, parts.weights, tokenizer, 8, parts.buffers);
  const at::Tensor together = encoder.EncodeImages(Noise(5)).clone();
  const at::Tensor alone = encoder.EncodeImages(Noise(1));
  EXPECT_LT((together.narrow(0, 0, 1) - alone).abs().max().item<float>(), 1e-6);
  Encoder other(parts.spec, parts.weights, tokenizer, 8, MakeParts(2).buffers);
  EXPECT_GT((other.EncodeImages(Noise(1)) - alone).abs().max().item<float>(), 1e-3);
}

// Scores that overflow gave features that looked like any others.
TEST(EncoderTest, AnOverflowInAttentionShowsInTheFeatures) {
  const c10::InferenceMode guard;
  const model::ModelSpec& spec = model::FindModel("tiny-vit");
  const auto params = model::ClipModel::Create(spec)->params();
  const ckpt::Layout layout = LayoutOf(params);
  at::Tensor weights = at::zeros({static_cast<int64_t>(layout.num_elements)}, at::kFloat);
  const std::vector<at::Tensor> views = ViewsOf(weights, layout);
  for (size_t i = 0; i < views.size(); ++i) {
    model::InitParam(params[i], 9, views[i]);
    if (params[i].name == "transformer.resblocks.0.attn.in_proj_weight") {
      views[i].narrow(0, 0, 2 * spec.text.width).mul_(1e25);  // queries and keys
    }
  }
  Encoder encoder(spec, weights, data::Tokenizer::Load(), 8);
  EXPECT_TRUE(at::isnan(encoder.EncodeTexts({"a photo of a cat"})).any().item<bool>());
}

TEST(EncoderTest, AResnetWithoutStatisticsIsRefused) {
  const Parts parts = MakeParts(1);
  try {
    Encoder(parts.spec, parts.weights, data::Tokenizer::Load(), 8);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-MODEL-STATISTICS");
  }
}

}  // namespace
}  // namespace contrail::eval
