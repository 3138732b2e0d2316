// The ResNet tower, forward, backward and running statistics, against an autograd oracle in fp64.
#include "model/resnet.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "model/clip_impl.h"
#include "tests/model/oracle.h"

namespace contrail::model {
namespace {

// Every kind of block: stride 1 and 2, with and without a downsample; 3 x 3 positions in the end.
ModelSpec Small(int64_t group) {
  ModelSpec spec;
  spec.name = "small-rn";
  spec.embed_dim = 20;
  spec.resolution = 96;
  spec.resnet = {.width = 8, .layers = {2, 1, 2, 1}, .bn_group_size = group};
  spec.text = {.width = 24, .layers = 1, .heads = 2, .context = 77, .vocab = 64};
  return spec;
}

// ModifiedResNet in plain ATen. Its norms use, and move, `running` as PyTorch's modules do.
class OracleResnet {
 public:
  OracleResnet(const BoundModel& m, bool train)
      : spec_(m.model->spec()),
        weights_(m.model->spec(), m.model->params(), m.bound.weights),
        train_(train) {
    for (size_t i = 0; i < m.bound.buffers.size(); ++i) {
      running[m.model->buffers()[i].name] = m.bound.buffers[i].to(at::kDouble).clone();
    }
  }

  at::Tensor Encode(const at::Tensor& images) {
    const auto channel = [](std::vector<double> v) {
      return at::tensor(v, at::kDouble).view({1, 3, 1, 1});
    };
    at::Tensor x = (images.to(at::kDouble) / 255.0 - channel({0.48145466, 0.4578275, 0.40821073})) /
                   channel({0.26862954, 0.26130258, 0.27577711});
    for (const char* i : {"1", "2", "3"}) {
      x = at::relu(
          Norm(Conv(x, "conv" + std::string(i), 1, i[0] == '1' ? 2 : 1), "bn" + std::string(i)));
    }
    x = at::avg_pool2d(x, {2, 2});
    for (size_t stage = 0; stage < spec_.resnet.layers.size(); ++stage) {
      for (int64_t i = 0; i < spec_.resnet.layers[stage]; ++i) {
        const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(i);
        x = Block(x, name, stage > 0 && i == 0, i == 0);
      }
    }
    const at::Tensor z = Pool(x);
    return z / z.norm(2, {-1}, true);
  }

  std::vector<at::Tensor> Gradients() const { return weights_.Gradients(); }

  std::map<std::string, at::Tensor> running;

 private:
  const at::Tensor& W(const std::string& name) const { return weights_.weight("visual." + name); }

  at::Tensor Conv(const at::Tensor& x, const std::string& name, int64_t pad, int64_t stride = 1) {
    return at::conv2d(x, W(name + ".weight"), {}, stride, pad);
  }
  at::Tensor Norm(const at::Tensor& x, const std::string& name) {
    return at::batch_norm(x, W(name + ".weight"), W(name + ".bias"),
                          running.at("visual." + name + ".running_mean"),
                          running.at("visual." + name + ".running_var"), train_, 0.1, 1e-5, false);
  }
  at::Tensor Block(const at::Tensor& x, const std::string& name, bool pool, bool project) {
    const auto pooled = [&](const at::Tensor& t) { return pool ? at::avg_pool2d(t, {2, 2}) : t; };
    at::Tensor y = at::relu(Norm(Conv(x, name + ".conv1", 0), name + ".bn1"));
    y = at::relu(Norm(Conv(y, name + ".conv2", 1), name + ".bn2"));
    y = Norm(Conv(pooled(y), name + ".conv3", 0), name + ".bn3");
    const at::Tensor identity =
        project ? Norm(Conv(pooled(x), name + ".downsample.0", 0), name + ".downsample.1") : x;
    return at::relu(y + identity);
  }
  // Not folded: every position has a query, as open_clip computes it.
  at::Tensor Pool(const at::Tensor& x) {
    const int64_t b = x.size(0), c = x.size(1), heads = c / 64;
    at::Tensor t = x.flatten(2).transpose(1, 2);
    t = at::cat({t.mean(1, true), t}, 1) + W("attnpool.positional_embedding");
    const auto project = [&](const std::string& name) {
      return at::linear(t, W("attnpool." + name + ".weight"), W("attnpool." + name + ".bias"))
          .view({b, -1, heads, 64})
          .transpose(1, 2);
    };
    const at::Tensor scores =
        at::matmul(project("q_proj"), project("k_proj").transpose(-1, -2)) / 8.0;
    const at::Tensor o =
        at::matmul(at::softmax(scores, -1), project("v_proj")).transpose(1, 2).reshape({b, -1, c});
    return at::linear(o.select(1, 0), W("attnpool.c_proj.weight"), W("attnpool.c_proj.bias"));
  }

  ModelSpec spec_;
  OracleClip weights_;
  bool train_;
};

at::Tensor Direction(const ModelSpec& spec, int64_t count) {
  return RandomTensor({count, spec.embed_dim}, 5);
}

at::Tensor Step(BoundModel& m, const at::Tensor& images, const at::Tensor& d) {
  const at::ScalarType type = m.bound.weights[0].scalar_type();
  at::Tensor features = at::empty({images.size(0), m.model->spec().embed_dim}, type);
  m.model->ForwardImages(images, features, Keep::kYes);
  m.model->BackwardImages(d.to(type), {});
  return features;
}

bool IsVisual(const ParamSpec& spec) { return spec.name.rfind("visual.", 0) == 0; }

// The bias of keys has no gradient at all: it shifts all scores alike.
void ExpectSameGradients(const BoundModel& m, const std::vector<at::Tensor>& theirs,
                         double tolerance) {
  for (size_t i = 0; i < theirs.size(); ++i) {
    const ParamSpec& spec = m.model->params()[i];
    if (!IsVisual(spec)) continue;
    if (spec.name == "visual.attnpool.k_proj.bias") {
      EXPECT_EQ(m.bound.grads[i].abs().max().item<double>(), 0);
      EXPECT_LT(theirs[i].norm().item<double>(), 1e-12);
      continue;
    }
    ASSERT_GT(theirs[i].norm().item<double>(), 0) << spec.name;
    EXPECT_LT(Distance(m.bound.grads[i], theirs[i]), tolerance) << spec.name;
  }
}

// Six images in groups of three: the oracle sees two batches of three.
void CompareTraining(at::ScalarType type, double features, double gradients, double statistics) {
  const ModelSpec spec = Small(3);
  BoundModel m(ClipModel::Create(spec), type);
  OracleResnet oracle(m, /*train=*/true);
  const auto before = oracle.running;
  m.model->Plan(6, 0, true);
  const at::Tensor images = RandomImages(6, spec.resolution, 3), d = Direction(spec, 6);
  const at::Tensor ours = Step(m, images, d);
  m.model->FoldStatistics();

  std::map<std::string, at::Tensor> mean_of_groups;
  std::vector<at::Tensor> parts;
  for (const int64_t first : {0, 3}) {
    for (const auto& [name, value] : before) oracle.running[name] = value.clone();
    parts.push_back(oracle.Encode(images.narrow(0, first, 3)));
    for (const auto& [name, value] : oracle.running) {
      at::Tensor& sum = mean_of_groups[name];
      sum = sum.defined() ? sum + value * 0.5 : value * 0.5;
    }
  }
  const at::Tensor theirs = at::cat(parts);
  (theirs * d).sum().backward();
  EXPECT_LT(Distance(ours, theirs), features);
  ExpectSameGradients(m, oracle.Gradients(), gradients);
  for (size_t i = 0; i < m.bound.buffers.size(); ++i) {
    const std::string& name = m.model->buffers()[i].name;
    EXPECT_LT(Distance(m.bound.buffers[i], mean_of_groups.at(name)), statistics) << name;
    EXPECT_GT(Distance(m.bound.buffers[i], before.at(name)), 1e-3) << name;
  }
}

TEST(Resnet, TrainsAsTheOracleInDouble) { CompareTraining(at::kDouble, 1e-11, 1e-9, 1e-12); }
TEST(Resnet, TrainsAsTheOracleInFloat) { CompareTraining(at::kFloat, 1e-5, 1e-4, 1e-5); }

TEST(Resnet, InferenceUsesRunningStatistics) {
  const ModelSpec spec = Small(3);
  BoundModel m(ClipModel::Create(spec), at::kDouble);
  OracleResnet oracle(m, /*train=*/false);
  m.model->Plan(5, 0, /*training=*/false);
  const at::Tensor images = RandomImages(5, spec.resolution, 3);
  at::Tensor ours = at::empty({5, spec.embed_dim}, at::kDouble), alone = at::empty_like(ours);
  m.model->ForwardImages(images, ours, Keep::kNo);
  EXPECT_LT(Distance(ours, oracle.Encode(images)), 1e-11);
  m.model->ForwardImages(images.narrow(0, 4, 1), alone.narrow(0, 4, 1), Keep::kNo);
  EXPECT_LT(Distance(alone[4], ours[4]), 1e-12);  // an image does not depend on its batch
}

// Groups, not micro-batches, decide: 8 images at once, or 4 and 4.
TEST(Resnet, MicroBatchesOfWholeGroupsAddUp) {
  const ModelSpec spec = Small(4);
  BoundModel whole(ClipModel::Create(spec), at::kDouble),
      halves(ClipModel::Create(spec), at::kDouble);
  whole.model->Plan(8, 0, true);
  halves.model->Plan(4, 0, true);
  const at::Tensor images = RandomImages(8, spec.resolution, 3), d = Direction(spec, 8);
  const at::Tensor features = Step(whole, images, d);
  for (const int64_t first : {0, 4}) {
    const at::Tensor part = Step(halves, images.narrow(0, first, 4), d.narrow(0, first, 4));
    EXPECT_LT(Distance(part, features.narrow(0, first, 4)), 1e-13);
  }
  ExpectSameGradients(
      halves,
      [&] {
        std::vector<at::Tensor> grads;
        for (const at::Tensor& grad : whole.bound.grads) grads.push_back(grad);
        return grads;
      }(),
      1e-11);
  whole.model->FoldStatistics();
  halves.model->FoldStatistics();
  for (size_t i = 0; i < whole.bound.buffers.size(); ++i) {
    EXPECT_LT(Distance(halves.bound.buffers[i], whole.bound.buffers[i]), 1e-13);
  }
}

// Gradient caching: forward all without keeping, then again kept. Same features bit for bit, same
// gradients, and statistics that count each image once.
TEST(Resnet, GradientCachingIsExact) {
  const ModelSpec spec = Small(3);
  BoundModel plain(ClipModel::Create(spec), at::kFloat),
      cached(ClipModel::Create(spec), at::kFloat);
  plain.model->Plan(3, 0, true);
  cached.model->Plan(3, 0, true);
  const at::Tensor images = RandomImages(6, spec.resolution, 3), d = Direction(spec, 6);
  at::Tensor first_pass = at::empty({6, spec.embed_dim});
  for (const int64_t first : {0, 3}) {
    cached.model->ForwardImages(images.narrow(0, first, 3), first_pass.narrow(0, first, 3),
                                Keep::kNo);
  }
  for (const int64_t first : {0, 3}) {
    const at::Tensor part = images.narrow(0, first, 3), d_part = d.narrow(0, first, 3);
    const at::Tensor features = Step(plain, part, d_part);
    EXPECT_TRUE(features.equal(first_pass.narrow(0, first, 3)));
    EXPECT_TRUE(features.equal(Step(cached, part, d_part)));
  }
  for (size_t i = 0; i < plain.bound.grads.size(); ++i) {
    EXPECT_TRUE(cached.bound.grads[i].equal(plain.bound.grads[i]));
  }
  plain.model->FoldStatistics();
  cached.model->FoldStatistics();
  for (size_t i = 0; i < plain.bound.buffers.size(); ++i) {
    EXPECT_TRUE(cached.bound.buffers[i].equal(plain.bound.buffers[i]));
  }
  const at::Tensor folded = cached.bound.buffers[0].clone();
  cached.model->FoldStatistics();  // nothing new
  EXPECT_TRUE(cached.bound.buffers[0].equal(folded));
}

// Blocks that keep their input only: the same bits, less memory; and the same on any number of
// threads.
TEST(Resnet, RecomputationAndThreadsChangeNoBit) {
  const ModelSpec spec = Small(3);
  const at::Tensor images = RandomImages(6, spec.resolution, 3), d = Direction(spec, 6);
  BoundModel plain(ClipModel::Create(spec), at::kFloat);
  plain.model->Plan(6, 0, true);
  const at::Tensor features = Step(plain, images, d);
  plain.model->FoldStatistics();
  for (const int threads : {1, 3}) {
    for (const bool again : {false, true}) {
      at::set_num_threads(threads);
      BoundModel m(ClipModel::Create(spec), at::kFloat);
      m.model->Plan(6, 0, {true, {.resnet = again}});
      EXPECT_TRUE(Step(m, images, d).equal(features));
      m.model->FoldStatistics();
      at::set_num_threads(1);
      EXPECT_EQ(m.model->arena_bytes() < plain.model->arena_bytes(), again);
      for (size_t i = 0; i < plain.bound.grads.size(); ++i) {
        EXPECT_TRUE(m.bound.grads[i].equal(plain.bound.grads[i])) << m.model->params()[i].name;
      }
      for (size_t i = 0; i < plain.bound.buffers.size(); ++i) {
        EXPECT_TRUE(m.bound.buffers[i].equal(plain.bound.buffers[i]));
      }
    }
  }
}

TEST(Resnet, GroupsAreDoneInDescendingOrder) {
  const ModelSpec spec = FindModel("tiny-rn");
  BoundModel m(ClipModel::Create(spec), at::kFloat);
  m.model->Plan(4, 0, true);
  at::Tensor out = at::empty({4, spec.embed_dim});
  std::vector<int> groups;
  m.model->ForwardImages(RandomImages(4, spec.resolution, 3), out, Keep::kYes);
  m.model->BackwardImages(at::ones_like(out), [&](int group) { groups.push_back(group); });
  EXPECT_THAT(groups, testing::ElementsAre(5, 4, 3, 2, 1, 0));
}

TEST(Resnet, BrokenPromisesAreNamed) {
  const auto model = ClipModel::Create(Small(2));
  BoundModel m(ClipModel::Create(Small(2)), at::kFloat);
  BoundParams without = m.bound;
  without.buffers.clear();
  try {
    model->Bind(without);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-MODEL-STATISTICS");
    EXPECT_EQ(error.kind(), ErrorKind::kUser);
  }
  m.model->Plan(3, 0, true);
  at::Tensor three = at::empty({3, 20});
  EXPECT_THROW(m.model->ForwardImages(RandomImages(3, 96, 1), three, Keep::kYes), Error);
  ModelSpec odd = Small(2);
  odd.resolution = 100;
  EXPECT_THROW(ClipModel::Create(odd), Error);
}

}  // namespace
}  // namespace contrail::model
