// Whole models in bf16 and fp16 against fp32: same weights (the masters, before rounding), same
// batch, same gradient of the features.
#include <gtest/gtest.h>

#include "model/clip_impl.h"
#include "model/ops/cpu_ops.h"
#include "tests/model/oracle.h"

namespace contrail::model {
namespace {

struct Pass {
  at::Tensor image, text;
  std::vector<at::Tensor> grads;
};

// `scale`: of the gradient that enters, taken out of those that leave (fp16's loss scaling).
Pass RunModel(BoundModel& m, int64_t b, double scale) {
  const ModelSpec& spec = m.model->spec();
  const at::ScalarType wide = m.bound.grads[0].scalar_type();
  std::vector<int64_t> lengths(static_cast<size_t>(b));
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = 4 + static_cast<int64_t>(i * 7 % 23);
  Pass pass{at::empty({b, spec.embed_dim}, wide), at::empty({b, spec.embed_dim}, wide), {}};
  m.ZeroGrads();
  m.model->ForwardImages(RandomImages(b, spec.resolution, 3), pass.image, Keep::kYes);
  m.model->ForwardTexts(RandomTexts(lengths, spec.text.vocab, 4), pass.text, Keep::kYes);
  m.model->BackwardImages((RandomTensor({b, spec.embed_dim}, 5) * scale).to(wide), {});
  m.model->BackwardTexts((RandomTensor({b, spec.embed_dim}, 6) * scale).to(wide), {});
  for (const at::Tensor& grad : m.bound.grads) pass.grads.push_back(grad / scale);
  return pass;
}

at::Tensor Joined(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : tensors) flat.push_back(tensor.to(at::kDouble).flatten());
  return at::cat(flat);
}

double Cosine(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble).flatten(), y = b.to(at::kDouble).flatten();
  return at::dot(x, y).item<double>() / (x.norm().item<double>() * y.norm().item<double>());
}

struct Case {
  const char* model;
  at::ScalarType type;
  const char* isa;  // of 16-bit products
};
class InSixteenBits : public testing::TestWithParam<Case> {};

// Limits: about half as much again as was measured, u the unit roundoff (bf16 3.9e-3, fp16 4.9e-4).
// A ViT's feature has been through a few dozen roundings. A ResNet's gradient differs by the ReLUs
// that a rounding switches, of which there are as many as numbers within u of zero: its error goes
// with the root of u (in fp32, too: open_clip's is up to 1e-2 from fp64's), most at random weights.
struct Limits {
  double features, gradient, parameter;  // relative to the norm
  double cosine, worst_cosine;           // below 1
};
Limits LimitsOf(bool resnet, double u) {
  if (resnet) return {9 * u, 3 * std::sqrt(u), 7.5 * std::sqrt(u), 3 * u, 19 * u};
  return {2.5 * u, 3.5 * u, 4 * u, 6 * u * u, 8 * u * u};
}

TEST_P(InSixteenBits, FeaturesAndGradientsAreNearFp32s) {
  const auto* mixed = kernels::NamedMixed(GetParam().isa);
  if (mixed == nullptr) GTEST_SKIP() << "this processor lacks " << GetParam().isa;
  const CpuOpTable ops(kernels::Best<float>(), kernels::Best<double>(), *mixed);
  const ModelSpec spec = FindModel(GetParam().model);
  const auto make = [&](at::ScalarType type) {
    BoundModel m(std::make_unique<ClipOverOps>(spec, ops, ClipOverOps::Options{}), type);
    m.model->Plan(12, 0, true);
    return m;
  };
  BoundModel exact = make(at::kFloat), narrow = make(GetParam().type);
  const bool half = GetParam().type == at::kHalf;
  const Pass theirs = RunModel(exact, 12, 1), ours = RunModel(narrow, 12, half ? 1024 : 1);
  const Limits limits = LimitsOf(!spec.resnet.layers.empty(), half ? 0x1p-11 : 0x1p-8);

  EXPECT_LT(Distance(ours.image, theirs.image), limits.features);
  EXPECT_LT(Distance(ours.text, theirs.text), limits.features);
  EXPECT_LT(Distance(Joined(ours.grads), Joined(theirs.grads)), limits.gradient);
  EXPECT_GT(Cosine(Joined(ours.grads), Joined(theirs.grads)), 1 - limits.cosine);
  double worst = 0, worst_cosine = 1;
  const std::vector<ParamSpec>& params = exact.model->params();
  for (size_t i = 0; i + 1 < params.size(); ++i) {
    const double distance = Distance(ours.grads[i], theirs.grads[i]);
    EXPECT_LT(distance, limits.parameter) << params[i].name;
    worst = std::max(worst, distance);
    worst_cosine = std::min(worst_cosine, Cosine(ours.grads[i], theirs.grads[i]));
  }
  EXPECT_GT(worst_cosine, 1 - limits.worst_cosine);
  std::printf(
      "%s %s %s: features %.1e %.1e, gradient %.1e, worst parameter %.1e (cosine 1 - %.1e)\n",
      GetParam().model, half ? "fp16" : "bf16", GetParam().isa, Distance(ours.image, theirs.image),
      Distance(ours.text, theirs.text), Distance(Joined(ours.grads), Joined(theirs.grads)), worst,
      1 - worst_cosine);
}

TEST_P(InSixteenBits, ResultsDoNotDependOnThreadsOrKeeping) {
  const auto* mixed = kernels::NamedMixed(GetParam().isa);
  if (mixed == nullptr) GTEST_SKIP() << "this processor lacks " << GetParam().isa;
  const ModelSpec spec = FindModel(GetParam().model);
  const CpuOpTable ops(kernels::Best<float>(), kernels::Best<double>(), *mixed);
  BoundModel m(std::make_unique<ClipOverOps>(spec, ops, ClipOverOps::Options{}), GetParam().type);
  m.model->Plan(12, 0, true);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Pass one = RunModel(m, 12, 64);
  at::set_num_threads(3);
  const Pass three = RunModel(m, 12, 64);
  at::set_num_threads(before);
  EXPECT_TRUE(three.image.equal(one.image));
  EXPECT_TRUE(three.text.equal(one.text));
  for (size_t i = 0; i < one.grads.size(); ++i) EXPECT_TRUE(three.grads[i].equal(one.grads[i]));
  at::Tensor again = at::empty_like(one.image);
  m.model->ForwardImages(RandomImages(12, spec.resolution, 3), again, Keep::kNo);
  EXPECT_TRUE(again.equal(one.image));
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.model;
  std::replace(name.begin(), name.end(), '-', '_');
  return name + (info.param.type == at::kHalf ? "_fp16_" : "_bf16_") + info.param.isa;
}
INSTANTIATE_TEST_SUITE_P(Models, InSixteenBits,
                         testing::Values(Case{"tiny-vit", at::kBFloat16, "avx512bf16"},
                                         Case{"tiny-vit", at::kBFloat16, "avx512"},
                                         Case{"tiny-vit", at::kBFloat16, "avx2"},
                                         Case{"tiny-vit", at::kHalf, "avx512"},
                                         Case{"tiny-vit", at::kHalf, "avx2"},
                                         Case{"tiny-rn", at::kBFloat16, "avx512bf16"},
                                         Case{"tiny-rn", at::kHalf, "avx512"}),
                         CaseName);

// Half of what is kept for a backward is 4-byte residual stream and statistics no more.
TEST(Sixteen, ActivationsTakeLittleMoreThanHalf) {
  const ModelSpec spec = FindModel("ViT-B/32");
  const auto bytes = [&](at::ScalarType type) {
    const auto model = ClipModel::Create(spec);
    BoundParams bound;
    for (const ParamSpec& param : model->params()) {
      bound.weights.push_back(at::zeros(param.shape, param.matrix ? type : at::kFloat));
      bound.grads.push_back(at::zeros(param.shape, at::kFloat));
    }
    model->Bind(bound);
    model->Plan(8, 0, true);
    return static_cast<double>(model->arena_bytes());
  };
  // The residual stream, two of ten widths, stays fp32.
  EXPECT_LT(bytes(at::kBFloat16), 0.63 * bytes(at::kFloat));
}

}  // namespace
}  // namespace contrail::model
