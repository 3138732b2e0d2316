// The towers, forward and backward, against the autograd oracle.
#include "model/clip_impl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "tests/model/oracle.h"

namespace contrail::model {
namespace {

// Odd sizes on purpose: 9 patches + 1 tokens, width 24 (not whole vectors), head size 12.
ModelSpec Small(const std::string& activation) {
  ModelSpec spec;
  spec.name = "small";
  spec.embed_dim = 20;
  spec.resolution = 15;
  spec.vit = {5, 24, 3, 2};
  spec.text = {.width = 24, .layers = 3, .heads = 2, .context = 77, .vocab = 64};
  spec.activation = activation;
  return spec;
}

std::unique_ptr<ClipModel> Make(const ModelSpec& spec, bool prune = true) {
  return std::make_unique<ClipOverOps>(spec, CpuOps(),
                                       ClipOverOps::Options{.prune_last_block = prune});
}

struct Pass {
  at::Tensor image_features, text_features;
  std::vector<at::Tensor> grads;
};

const std::vector<int64_t> kLengths = {5, 77, 2, 12, 9};

// One step's forward and backward; the gradient of the features is the same random direction for
// everybody.
Pass RunModel(BoundModel& m, at::ScalarType type, const std::vector<int64_t>& lengths = kLengths) {
  const ModelSpec& spec = m.model->spec();
  const auto b = static_cast<int64_t>(lengths.size());
  const at::Tensor images = RandomImages(b, spec.resolution, 3);
  const TextBatch texts = RandomTexts(lengths, spec.text.vocab, 4);
  Pass pass{at::empty({b, spec.embed_dim}, type), at::empty({b, spec.embed_dim}, type), {}};
  m.ZeroGrads();
  m.model->ForwardImages(images, pass.image_features, Keep::kYes);
  m.model->ForwardTexts(texts, pass.text_features, Keep::kYes);
  m.model->BackwardImages(RandomTensor({b, spec.embed_dim}, 5).to(type), {});
  m.model->BackwardTexts(RandomTensor({b, spec.embed_dim}, 6).to(type), {});
  for (const at::Tensor& grad : m.bound.grads) pass.grads.push_back(grad.clone());
  return pass;
}

Pass RunOracle(const BoundModel& m, const std::vector<int64_t>& lengths = kLengths) {
  const ModelSpec& spec = m.model->spec();
  const auto b = static_cast<int64_t>(lengths.size());
  const OracleClip oracle(spec, m.model->params(), m.bound.weights);
  const at::Tensor image = oracle.EncodeImages(RandomImages(b, spec.resolution, 3));
  const at::Tensor text = oracle.EncodeTexts(RandomTexts(lengths, spec.text.vocab, 4));
  ((image * RandomTensor({b, spec.embed_dim}, 5)).sum() +
   (text * RandomTensor({b, spec.embed_dim}, 6)).sum())
      .backward();
  return {image.detach(), text.detach(), oracle.Gradients()};
}

void ExpectNear(const Pass& ours, const Pass& theirs, const std::vector<ParamSpec>& params,
                double features, double gradients) {
  EXPECT_LT(Distance(ours.image_features, theirs.image_features), features);
  EXPECT_LT(Distance(ours.text_features, theirs.text_features), features);
  for (size_t i = 0; i < params.size(); ++i) {
    if (params[i].name == "logit_scale") continue;
    ASSERT_GT(theirs.grads[i].norm().item<double>(), 0) << params[i].name;
    EXPECT_LT(Distance(ours.grads[i], theirs.grads[i]), gradients) << params[i].name;
  }
}

class ClipAgainstOracle : public testing::TestWithParam<std::string> {};

// fp64 and packed captions against padded-to-77 ones: the algebra is exact. A key's bias gradient
// is 0 in exact arithmetic inside in_proj_bias, which the norm of the whole absorbs.
TEST_P(ClipAgainstOracle, AgreesInDouble) {
  BoundModel m(Make(Small(GetParam())), at::kDouble);
  m.model->Plan(8, 0, true);
  ExpectNear(RunModel(m, at::kDouble), RunOracle(m), m.model->params(), 1e-12, 1e-10);
}

TEST_P(ClipAgainstOracle, AgreesInFloat) {
  BoundModel m(Make(Small(GetParam())), at::kFloat);
  m.model->Plan(8, 0, true);
  ExpectNear(RunModel(m, at::kFloat), RunOracle(m), m.model->params(), 3e-6, 3e-5);
}

TEST_P(ClipAgainstOracle, AgreesForTinyVit) {
  ModelSpec spec = FindModel("tiny-vit");
  spec.activation = GetParam();
  BoundModel m(Make(spec), at::kFloat);
  m.model->Plan(5, 0, true);
  ExpectNear(RunModel(m, at::kFloat), RunOracle(m), m.model->params(), 3e-6, 3e-5);
}

INSTANTIATE_TEST_SUITE_P(Activations, ClipAgainstOracle, testing::Values("quick_gelu", "gelu"));

TEST(Clip, PrunedLastBlockIsExact) {
  BoundModel pruned(Make(Small("quick_gelu"), true), at::kDouble);
  BoundModel whole(Make(Small("quick_gelu"), false), at::kDouble);
  pruned.model->Plan(8, 0, true);
  whole.model->Plan(8, 0, true);
  ExpectNear(RunModel(pruned, at::kDouble), RunModel(whole, at::kDouble), pruned.model->params(),
             1e-13, 1e-11);
}

TEST(Clip, OneLayerTowersWork) {
  ModelSpec spec = Small("quick_gelu");
  spec.vit.layers = spec.text.layers = 1;
  BoundModel m(Make(spec), at::kDouble);
  m.model->Plan(8, 0, true);
  ExpectNear(RunModel(m, at::kDouble), RunOracle(m), m.model->params(), 1e-12, 1e-10);
}

TEST(Clip, ForwardWithoutKeepingIsTheSameBits) {
  const ModelSpec spec = Small("quick_gelu");
  BoundModel m(Make(spec), at::kFloat);
  m.model->Plan(5, 0, true);
  const Pass kept = RunModel(m, at::kFloat);
  for (const bool training : {true, false}) {
    m.model->Plan(5, 0, training);
    at::Tensor image = at::empty_like(kept.image_features), text = at::empty_like(image);
    m.model->ForwardImages(RandomImages(5, spec.resolution, 3), image, Keep::kNo);
    m.model->ForwardTexts(RandomTexts(kLengths, spec.text.vocab, 4), text, Keep::kNo);
    EXPECT_TRUE(image.equal(kept.image_features));
    EXPECT_TRUE(text.equal(kept.text_features));
  }
}

// Gradient caching: a pass that is not kept, between a kept forward and the other tower's backward,
// must not disturb the other tower.
TEST(Clip, ForwardWithoutKeepingLeavesTheOtherTowerAlone) {
  const ModelSpec spec = Small("quick_gelu");
  BoundModel m(Make(spec), at::kFloat);
  m.model->Plan(5, 0, true);
  const Pass expected = RunModel(m, at::kFloat);
  m.ZeroGrads();
  at::Tensor out = at::empty({5, spec.embed_dim});
  m.model->ForwardTexts(RandomTexts(kLengths, spec.text.vocab, 4), out, Keep::kYes);
  m.model->ForwardImages(RandomImages(5, spec.resolution, 9), out, Keep::kNo);
  m.model->BackwardTexts(RandomTensor({5, spec.embed_dim}, 6).to(at::kFloat), {});
  for (size_t i = 0; i < expected.grads.size(); ++i) {
    if (m.model->params()[i].name.rfind("visual.", 0) == 0) continue;
    EXPECT_TRUE(m.bound.grads[i].equal(expected.grads[i])) << m.model->params()[i].name;
  }
}

// Weights that arrive only when their group is asked for are early enough, group by group.
TEST(Clip, NoWeightIsReadBeforeItsGroupIsNeeded) {
  for (const char* name : {"tiny-vit", "tiny-rn"}) {
    const ModelSpec spec = FindModel(name);
    BoundModel m(Make(spec), at::kFloat);
    m.model->Plan(5, 0, true);
    const at::Tensor images = RandomImages(5, spec.resolution, 3);
    const TextBatch texts = RandomTexts(kLengths, spec.text.vocab, 4);
    at::Tensor image = at::empty({5, spec.embed_dim}), text = at::empty_like(image);
    const auto forward = [&] {
      m.model->ForwardImages(images, image, Keep::kYes);
      m.model->ForwardTexts(texts, text, Keep::kYes);
    };
    forward();
    const at::Tensor expected_image = image.clone(), expected_text = text.clone();
    std::vector<at::Tensor> arriving;
    for (at::Tensor& weight : m.bound.weights) {
      arriving.push_back(weight.clone());
      weight.fill_(std::nan(""));
    }
    std::vector<int> asked;
    m.model->SetGroupNeeded([&](int group) {
      asked.push_back(group);
      for (size_t i = 0; i < arriving.size(); ++i) {
        if (m.model->params()[i].group == group) m.bound.weights[i].copy_(arriving[i]);
      }
    });
    forward();
    EXPECT_TRUE(image.equal(expected_image)) << name;
    EXPECT_TRUE(text.equal(expected_text)) << name;
    EXPECT_TRUE(std::is_sorted(asked.begin(), asked.end())) << name;
    m.model->SetGroupNeeded(nullptr);
  }
}

TEST(Clip, MicroBatchesAddUp) {
  const ModelSpec spec = Small("quick_gelu");
  BoundModel m(Make(spec), at::kDouble);
  m.model->Plan(5, 0, true);
  const Pass whole = RunModel(m, at::kDouble);
  m.ZeroGrads();
  const at::Tensor images = RandomImages(5, spec.resolution, 3);
  const TextBatch texts = RandomTexts(kLengths, spec.text.vocab, 4);
  const at::Tensor d_image = RandomTensor({5, spec.embed_dim}, 5);
  const at::Tensor d_text = RandomTensor({5, spec.embed_dim}, 6);
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 2}, {2, 3}}) {
    TextBatch part;
    const at::Tensor offsets = texts.offsets.slice(0, first, first + count + 1);
    part.offsets = offsets - offsets[0];
    part.token_ids =
        texts.token_ids.slice(0, offsets[0].item<int64_t>(), offsets[count].item<int64_t>())
            .contiguous();
    at::Tensor out = at::empty({count, spec.embed_dim}, at::kDouble);
    m.model->ForwardImages(images.narrow(0, first, count), out, Keep::kYes);
    EXPECT_LT(Distance(out, whole.image_features.narrow(0, first, count)), 1e-14);
    m.model->BackwardImages(d_image.narrow(0, first, count), {});
    m.model->ForwardTexts(part, out, Keep::kYes);
    m.model->BackwardTexts(d_text.narrow(0, first, count), {});
  }
  for (size_t i = 0; i < whole.grads.size(); ++i) {
    if (m.model->params()[i].name == "logit_scale") continue;
    EXPECT_LT(Distance(m.bound.grads[i], whole.grads[i]), 1e-12);
  }
}

TEST(Clip, ResultsDoNotDependOnThreads) {
  BoundModel m(Make(FindModel("tiny-vit")), at::kFloat);
  m.model->Plan(24, 0, true);
  std::vector<int64_t> lengths(24);
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = 4 + static_cast<int64_t>(i % 11);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Pass one = RunModel(m, at::kFloat, lengths);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    const Pass many = RunModel(m, at::kFloat, lengths);
    EXPECT_TRUE(many.image_features.equal(one.image_features));
    EXPECT_TRUE(many.text_features.equal(one.text_features));
    for (size_t i = 0; i < one.grads.size(); ++i) {
      EXPECT_TRUE(many.grads[i].equal(one.grads[i])) << m.model->params()[i].name;
    }
  }
  at::set_num_threads(before);
}

// Blocks that keep their input only: the same bits, less memory.
TEST(Clip, RecomputationChangesNoBit) {
  ModelSpec spec = Small("quick_gelu");
  spec.vit.layers = spec.text.layers = 4;
  BoundModel m(Make(spec), at::kFloat);
  m.model->Plan(5, 0, true);
  const int64_t all = m.model->arena_bytes();
  const Pass plain = RunModel(m, at::kFloat);
  for (const Recompute again : {Recompute{.vit = true}, Recompute{.text = true}}) {
    m.ZeroGrads();
    m.model->Plan(5, 0, {true, again});
    EXPECT_LT(m.model->arena_bytes(), all);
    const Pass recomputed = RunModel(m, at::kFloat);
    EXPECT_TRUE(recomputed.image_features.equal(plain.image_features));
    EXPECT_TRUE(recomputed.text_features.equal(plain.text_features));
    for (size_t i = 0; i < plain.grads.size(); ++i) {
      EXPECT_TRUE(recomputed.grads[i].equal(plain.grads[i])) << m.model->params()[i].name;
    }
  }
}

// Known before anything is allocated.
TEST(Clip, ThePlanIsKnownBeforehand) {
  BoundModel m(Make(FindModel("tiny-rn")), at::kFloat);
  const PlanFor what{true, {.text = true, .resnet = true}};
  m.model->Plan(6, 100, what);
  EXPECT_EQ(m.model->arena_bytes(), PlannedBytes(FindModel("tiny-rn"), 6, 100, what));
}

// The largest of the zoo, with weights, gradients and two moments in fp32; tests/worker really
// trains a step of it (in the long tests).
TEST(Clip, TheLargestModelFitsIntoTwentyFourGiB) {
  const ModelSpec spec = FindModel("RN50x64");
  int64_t state = 0;
  const auto model = ClipModel::Create(spec);
  for (const ParamSpec& param : model->params()) state += 16 * NumElements(param);
  constexpr int64_t kBudget = int64_t{24} << 30;
  EXPECT_LT(state + PlannedBytes(spec, 8, 0, true), kBudget);
  EXPECT_LT(state + PlannedBytes(spec, 16, 0, {true, {.text = true, .resnet = true}}), kBudget);
}

// Groups are reported once each, last first, after their gradients are final.
TEST(Clip, GroupsAreDoneInDescendingOrder) {
  const ModelSpec spec = Small("quick_gelu");
  BoundModel m(Make(spec), at::kDouble);
  m.model->Plan(5, 0, true);
  const Pass whole = RunModel(m, at::kDouble);
  m.ZeroGrads();
  at::Tensor out = at::empty({5, spec.embed_dim}, at::kDouble);
  std::vector<int> groups;
  const auto& params = m.model->params();
  const auto done = [&](int group) {
    groups.push_back(group);
    for (size_t i = 0; i < params.size(); ++i) {
      if (params[i].group != group) continue;
      EXPECT_TRUE(m.bound.grads[i].equal(whole.grads[i])) << params[i].name;
    }
  };
  m.model->ForwardImages(RandomImages(5, spec.resolution, 3), out, Keep::kYes);
  m.model->BackwardImages(RandomTensor({5, spec.embed_dim}, 5), done);
  EXPECT_THAT(groups, testing::ElementsAre(4, 3, 2, 1, 0));
  groups.clear();
  m.model->ForwardTexts(RandomTexts(kLengths, spec.text.vocab, 4), out, Keep::kYes);
  m.model->BackwardTexts(RandomTensor({5, spec.embed_dim}, 6), done);
  EXPECT_THAT(groups, testing::ElementsAre(9, 8, 7, 6, 5));
  EXPECT_EQ(params.back().name, "logit_scale");
  EXPECT_EQ(params.back().group, 10);
}

TEST(Clip, ArenaGrowsWithWhatIsKept) {
  BoundModel m(Make(FindModel("tiny-vit")), at::kFloat);
  m.model->Plan(32, 320, false);
  const int64_t inference = m.model->arena_bytes();
  m.model->Plan(32, 320, true);
  const int64_t training = m.model->arena_bytes();
  m.model->Plan(64, 640, true);
  EXPECT_GT(training, 3 * inference / 2);
  EXPECT_NEAR(static_cast<double>(m.model->arena_bytes()), 2.0 * static_cast<double>(training),
              0.01 * static_cast<double>(training));
}

TEST(Clip, BrokenPromisesAreNamed) {
  const ModelSpec spec = Small("quick_gelu");
  BoundModel m(Make(spec), at::kFloat);
  m.model->Plan(2, 20, true);
  at::Tensor three = at::empty({3, spec.embed_dim}), two = at::empty({2, spec.embed_dim});
  EXPECT_THROW(m.model->ForwardImages(RandomImages(3, 15, 1), three, Keep::kYes), Error);
  EXPECT_THROW(m.model->ForwardTexts(RandomTexts({11, 11}, 64, 1), two, Keep::kYes), Error);
  EXPECT_THROW(m.model->BackwardImages(two, {}), Error);  // nothing was kept
  EXPECT_THROW(Make(Small("relu")), Error);
}

}  // namespace
}  // namespace contrail::model
