#include "model/param.h"

#include <gtest/gtest.h>

#include "model/clip.h"

namespace contrail::model {
namespace {

at::Tensor Filled(const std::string& name, Init init, std::vector<int64_t> shape, uint64_t seed,
                  at::ScalarType type = at::kFloat) {
  ParamSpec spec;
  spec.name = name;
  spec.shape = shape;
  spec.init = init;
  at::Tensor out = at::full(shape, 99.0, type);
  InitParam(spec, seed, out);
  return out;
}

TEST(InitParam, DrawsDependOnSeedAndNameOnly) {
  const Init normal{Init::Kind::kNormal, 0.5};
  const at::Tensor a = Filled("w", normal, {50, 41}, 7);
  EXPECT_TRUE(a.equal(Filled("w", normal, {50, 41}, 7)));
  EXPECT_FALSE(a.equal(Filled("w", normal, {50, 41}, 8)));
  EXPECT_FALSE(a.equal(Filled("v", normal, {50, 41}, 7)));
  // A longer parameter begins with the same draws, and fp64 has the same ones unrounded.
  EXPECT_TRUE(Filled("w", normal, {3000}, 7).narrow(0, 0, 2050).equal(a.view({2050})));
  EXPECT_TRUE(Filled("w", normal, {50, 41}, 7, at::kDouble).to(at::kFloat).equal(a));
}

TEST(InitParam, DrawsDoNotDependOnThreads) {
  const Init uniform{Init::Kind::kUniform, 2};
  at::set_num_threads(1);
  const at::Tensor one = Filled("w", uniform, {100003}, 7);
  at::set_num_threads(3);
  EXPECT_TRUE(Filled("w", uniform, {100003}, 7).equal(one));
  at::set_num_threads(1);
}

// Moments within five standard errors, and no correlation with the neighbour.
TEST(InitParam, DistributionsAreWhatTheySay) {
  constexpr double kN = 400000;
  const at::Tensor normal =
      Filled("w", {Init::Kind::kNormal, 0.02}, {400000}, 3, at::kDouble) / 0.02;
  EXPECT_NEAR(normal.mean().item<double>(), 0, 5 / std::sqrt(kN));
  EXPECT_NEAR(normal.square().mean().item<double>(), 1, 5 * std::sqrt(2 / kN));
  EXPECT_NEAR(normal.pow(4).mean().item<double>(), 3, 5 * std::sqrt(96 / kN));
  EXPECT_NEAR((normal.slice(0, 1) * normal.slice(0, 0, -1)).mean().item<double>(), 0,
              5 / std::sqrt(kN));
  const at::Tensor uniform = Filled("w", {Init::Kind::kUniform, 0.1}, {400000}, 3, at::kDouble);
  EXPECT_NEAR(uniform.mean().item<double>(), 0, 5 * 0.1 / std::sqrt(3 * kN));
  EXPECT_NEAR(uniform.square().mean().item<double>(), 0.01 / 3, 5 * 0.01 * std::sqrt(4 / 45. / kN));
  EXPECT_LT(uniform.abs().max().item<double>(), 0.1);
  EXPECT_GT(uniform.abs().max().item<double>(), 0.0999);
}

TEST(InitParam, ConstantsAreExact) {
  EXPECT_EQ(Filled("s", {Init::Kind::kConstant, 2.5}, {}, 1).item<float>(), 2.5f);
  EXPECT_TRUE(Filled("g", {Init::Kind::kOnes}, {5}, 1).equal(at::ones({5})));
  EXPECT_TRUE(Filled("b", {Init::Kind::kZeros}, {5}, 1).equal(at::zeros({5})));
}

// OpenAI's scheme (clip/model.py initialize_parameters; PyTorch's defaults where it has none).
TEST(InitParam, SchemesOfTheTowers) {
  const auto model = ClipModel::Create(FindModel("ViT-B/32"));
  const auto expect = [&](const std::string& name, Init::Kind kind, double value) {
    for (const ParamSpec& spec : model->params()) {
      if (spec.name != name) continue;
      EXPECT_EQ(spec.init.kind, kind) << name;
      EXPECT_NEAR(spec.init.value, value, 1e-12) << name;
      return;
    }
    ADD_FAILURE() << name;
  };
  const auto root = [](double x) { return std::sqrt(x); };
  using Kind = Init::Kind;
  expect("token_embedding.weight", Kind::kNormal, 0.02);
  expect("positional_embedding", Kind::kNormal, 0.01);
  expect("transformer.resblocks.3.attn.in_proj_weight", Kind::kNormal, 1 / root(512));
  expect("transformer.resblocks.3.attn.out_proj.weight", Kind::kNormal, 1 / root(512 * 24));
  expect("transformer.resblocks.3.mlp.c_proj.weight", Kind::kNormal, 1 / root(512 * 24));
  expect("transformer.resblocks.3.mlp.c_fc.weight", Kind::kNormal, 1 / root(2 * 512));
  expect("transformer.resblocks.3.mlp.c_fc.bias", Kind::kUniform, 1 / root(512));
  expect("transformer.resblocks.3.mlp.c_proj.bias", Kind::kUniform, 1 / root(4 * 512));
  expect("transformer.resblocks.3.attn.in_proj_bias", Kind::kZeros, 0);
  expect("text_projection", Kind::kNormal, 1 / root(512));
  expect("visual.class_embedding", Kind::kNormal, 1 / root(768));
  expect("visual.positional_embedding", Kind::kNormal, 1 / root(768));
  expect("visual.proj", Kind::kNormal, 1 / root(768));
  expect("visual.conv1.weight", Kind::kUniform, 1 / root(3 * 32 * 32));
  expect("visual.transformer.resblocks.3.attn.in_proj_weight", Kind::kUniform,
         root(6. / (4 * 768)));
  expect("visual.transformer.resblocks.3.attn.out_proj.weight", Kind::kUniform, 1 / root(768));
  expect("visual.transformer.resblocks.3.mlp.c_fc.weight", Kind::kUniform, 1 / root(768));
  expect("visual.transformer.resblocks.3.mlp.c_proj.weight", Kind::kUniform, 1 / root(4 * 768));
  expect("visual.transformer.resblocks.3.mlp.c_fc.bias", Kind::kUniform, 1 / root(768));
  expect("logit_scale", Kind::kConstant, std::log(1 / 0.07));
}

}  // namespace
}  // namespace contrail::model
