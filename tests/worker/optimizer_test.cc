#include "worker/optimizer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>

#include "worker/adamw_kernel.h"

namespace contrail::worker {
namespace {

std::vector<model::ParamSpec> Params() {
  std::vector<model::ParamSpec> params(3);
  params[0].name = "matrix";
  params[0].shape = {37, 1001};  // more than one block of work
  params[0].decay = params[0].matrix = true;
  params[1].name = "gain";
  params[1].shape = {37};
  params[2].name = "logit_scale";
  params[2].group = 1;
  return params;
}

struct PlainAdamW {  // the textbook, one element after the other, in fp64
  AdamWOptions options;
  bool decay = false;
  std::vector<double> weight, m, v;

  void Step(const std::vector<double>& grad, uint64_t t, double lr) {
    m.resize(weight.size());
    v.resize(weight.size());
    const double decayed = decay ? lr * options.weight_decay : 0;
    for (size_t i = 0; i < weight.size(); ++i) {
      m[i] = options.beta1 * m[i] + (1 - options.beta1) * grad[i];
      v[i] = options.beta2 * v[i] + (1 - options.beta2) * grad[i] * grad[i];
      const double m_hat = m[i] / (1 - std::pow(options.beta1, static_cast<double>(t)));
      const double v_hat = v[i] / (1 - std::pow(options.beta2, static_cast<double>(t)));
      weight[i] -= decayed * weight[i] + lr * m_hat / (std::sqrt(v_hat) + options.epsilon);
    }
  }
};

at::Tensor Noise(at::IntArrayRef shape, uint64_t seed) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn(shape, generator, at::kFloat);
}

std::vector<double> Doubles(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kDouble).flatten().contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

TEST(Optimizer, FiftyStepsAgreeWithPlainFp64) {
  for (const AdamWOptions& options :
       {AdamWOptions{.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .weight_decay = 0.2},
        AdamWOptions{.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.2}}) {
    const auto params = Params();
    FlatParams flat(params, 0, 1);
    std::vector<PlainAdamW> plain;
    for (size_t i = 0; i < params.size(); ++i) {
      at::Tensor weight = flat.views().weights[i];
      weight.copy_(Noise(weight.sizes(), 100 + i));
      plain.push_back({options, params[i].decay, Doubles(weight), {}, {}});
    }
    for (uint64_t t = 1; t <= 50; ++t) {
      const double lr = 1e-2 / static_cast<double>(t);
      const double grad_scale = t % 3 == 0 ? 0.25 : 1;
      for (size_t i = 0; i < params.size(); ++i) {
        at::Tensor grad = flat.views().grads[i];
        grad.copy_(Noise(grad.sizes(), 1000 * t + i) * 0.01);
        std::vector<double> scaled = Doubles(grad);
        for (double& g : scaled) g *= grad_scale;
        plain[i].Step(scaled, t, lr);
      }
      for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
        AdamWStep(flat, bucket, options, t, lr, grad_scale);
      }
    }
    for (size_t i = 0; i < params.size(); ++i) {
      const std::vector<double> ours = Doubles(flat.views().weights[i]);
      double worst = 0;
      double squares = 0;
      for (size_t j = 0; j < ours.size(); ++j) {
        const double expected = plain[i].weight[j];
        const double error = std::abs(ours[j] - expected) / std::max(1.0, std::abs(expected));
        worst = std::max(worst, error);
        squares += error * error;
      }
      // Fifty roundings of a weight near 2 (1.2e-7 each) add up like a random walk.
      EXPECT_LT(worst, 2e-6) << params[i].name;
      EXPECT_LT(std::sqrt(squares / static_cast<double>(ours.size())), 4e-7) << params[i].name;
    }
    // Padding takes part in every step and stays zero.
    double total = 0;
    for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
      total += flat.weights(bucket).abs().sum(at::kDouble).item<double>();
    }
    double of_views = 0;
    for (const at::Tensor& view : flat.views().weights) {
      of_views += view.abs().sum(at::kDouble).item<double>();
    }
    EXPECT_NEAR(total, of_views, 1e-9 * total);
  }
}

TEST(Optimizer, AgreesWithPyTorch) {
  const std::string folder = testing::TempDir();
  const std::string values = folder + "/contrail_adamw_values.txt";
  const std::string program = R"(
import sys, torch
torch.manual_seed(0)
w = torch.nn.Parameter(torch.randn(64)); g = torch.nn.Parameter(torch.randn(16))
grads = [(torch.randn(64) * 0.1, torch.randn(16) * 0.1) for _ in range(20)]
out = open(sys.argv[1], 'w')
def put(*tensors):
    for t in tensors:
        for x in t.detach().tolist(): print(repr(x), file=out)
put(w, g)
o = torch.optim.AdamW([{'params': [w], 'weight_decay': 0.2}, {'params': [g], 'weight_decay': 0.0}],
                      lr=3e-3, betas=(0.9, 0.98), eps=1e-6)
for a, b in grads:
    w.grad, g.grad = a, b
    put(a, b); o.step(); put(w, g)
)";
  const std::string script = folder + "/contrail_adamw.py";
  std::ofstream(script) << program;
  const std::string command =
      std::string(CONTRAIL_SOURCE_DIR "/.venv/bin/python ") + script + " " + values;
  ASSERT_EQ(std::system(command.c_str()), 0);

  std::ifstream in(values);
  const auto read = [&](at::Tensor tensor) {
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      double value = 0;
      ASSERT_TRUE(in >> value);
      tensor.data_ptr<float>()[i] = static_cast<float>(value);
    }
  };
  std::vector<model::ParamSpec> params(2);
  params[0].shape = {64};
  params[0].decay = true;
  params[1].shape = {16};
  FlatParams flat(params, 0, 1);
  for (const at::Tensor& weight : flat.views().weights) read(weight);
  for (uint64_t t = 1; t <= 20; ++t) {
    for (const at::Tensor& grad : flat.views().grads) read(grad);
    AdamWStep(flat, 0, {}, t, 3e-3, 1);
    for (const at::Tensor& weight : flat.views().weights) {
      at::Tensor expected = at::empty_like(weight);
      read(expected);
      EXPECT_LT((weight - expected).abs().max().item<double>(), 1e-6) << "step " << t;
    }
  }
  std::remove(values.c_str());
  std::remove(script.c_str());
}

TEST(Optimizer, ShardsTogetherEqualOneRankBitForBit) {
  const auto params = Params();
  FlatParams whole(params, 0, 1);
  std::vector<float> start(whole.num_elements());
  std::vector<float> grads(whole.num_elements());
  const at::Tensor noise = Noise({2, whole.num_elements()}, 5);
  std::copy_n(noise.data_ptr<float>(), start.size(), start.begin());
  std::copy_n(noise.data_ptr<float>() + start.size(), start.size(), grads.begin());
  const auto step = [&](FlatParams& flat) {
    flat.ImportWeights(start.data());
    for (size_t i = 0; i < params.size(); ++i) {
      const at::Tensor grad = flat.views().grads[i];
      std::copy_n(grads.data() + flat.layout().tensors[i].begin, grad.numel(),
                  grad.data_ptr<float>());
    }
    for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
      AdamWStep(flat, bucket, {}, 1, 1e-2, 0.5);
    }
  };
  step(whole);
  std::vector<float> expected(start.size());
  whole.ExportWeights(expected.data());
  for (int rank = 0; rank < 4; ++rank) {
    FlatParams shard(params, rank, 4);
    step(shard);
    std::vector<float> own(shard.own_elements());
    shard.ExportOwn(0, own.data());
    const float* next = own.data();
    for (const ckpt::Range& range : shard.RangesOf(rank)) {
      for (uint64_t i = range.begin; i < range.end; ++i) ASSERT_EQ(*next++, expected[i]);
    }
  }
}

// Masters move as in an fp32 run, bit for bit; what the model computes with is their rounding.
TEST(Optimizer, SixteenBitWeightsAreTheRoundedMasters) {
  const auto params = Params();
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    FlatParams exact(params, 1, 2), flat(params, 1, 2, {.matrix_type = type});
    for (size_t i = 0; i < params.size(); ++i) {
      const at::Tensor weight = Noise(exact.views().weights[i].sizes(), 10 + i);
      const at::Tensor grad = Noise(weight.sizes(), 20 + i);
      for (FlatParams* each : {&exact, &flat}) {
        each->SetWeight(i, weight);
        each->views().grads[i].copy_(grad);
      }
    }
    for (uint64_t t = 1; t <= 3; ++t) {
      for (FlatParams* each : {&exact, &flat}) {
        for (int bucket = 0; bucket < each->num_buckets(); ++bucket) {
          AdamWStep(*each, bucket, {}, t, 1e-2, 0.5);
        }
      }
    }
    for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
      const at::Tensor working = flat.own_working(bucket);
      EXPECT_TRUE(working.equal(flat.own_weights(bucket).to(working.scalar_type())));
    }
    // The other buckets' slices are cut elsewhere, so ranks hold other elements: compare by place.
    const auto by_place = [](const FlatParams& from) {
      std::vector<float> own(from.own_elements()), whole(from.num_elements(), -1);
      from.ExportOwn(0, own.data());
      const float* next = own.data();
      for (const ckpt::Range& range : from.RangesOf(from.rank())) {
        for (uint64_t i = range.begin; i < range.end; ++i) whole[i] = *next++;
      }
      return whole;
    };
    const std::vector<float> a = by_place(exact), b = by_place(flat);
    int common = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i] == -1 || b[i] == -1) continue;
      ASSERT_EQ(a[i], b[i]) << i;
      ++common;
    }
    EXPECT_GT(common, 1000);
  }
}

FlatParams::Options HalfPrecision() {
  return {.matrix_type = at::kBFloat16, .moment_type = at::kBFloat16, .text_masters = false};
}

std::vector<model::ParamSpec> TwoTowers() {
  auto params = Params();
  params[0].matrix = true;
  params.push_back(params[0]);
  params.back().name = "visual.matrix";
  params.back().group = 2;
  return params;
}

void SetGrads(FlatParams& flat, uint64_t seed, double size) {
  const at::Tensor noise = Noise({flat.num_elements()}, seed) * size;
  for (size_t i = 0; i < flat.views().grads.size(); ++i) {
    at::Tensor grad = flat.views().grads[i];
    grad.copy_(noise.narrow(0, static_cast<int64_t>(flat.layout().tensors[i].begin), grad.numel())
                   .view(grad.sizes()));
  }
}

void Update(FlatParams& flat, uint64_t step) {
  SetGrads(flat, step, 0.1);
  for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
    AdamWStep(flat, bucket, {.seed = 5}, step, 1e-2, 0.5);
  }
}

// The whole state in the logical space, from every rank's part.
using State = std::array<std::vector<float>, ckpt::kNumKinds>;
State StateOf(const std::vector<std::unique_ptr<FlatParams>>& ranks) {
  State state;
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind) {
    state[kind].resize(ranks[0]->num_elements());
    for (const auto& flat : ranks) {
      std::vector<float> own(flat->own_elements());
      flat->ExportOwn(kind, own.data());
      const float* next = own.data();
      for (const ckpt::Range& range : flat->RangesOf(flat->rank())) {
        for (uint64_t i = range.begin; i < range.end; ++i) state[kind][i] = *next++;
      }
    }
  }
  return state;
}

std::vector<std::unique_ptr<FlatParams>> RanksWith(const State& state, int size) {
  std::vector<std::unique_ptr<FlatParams>> ranks;
  for (int rank = 0; rank < size; ++rank) {
    ranks.push_back(std::make_unique<FlatParams>(TwoTowers(), rank, size, HalfPrecision()));
    for (int kind = 0; kind < ckpt::kNumKinds; ++kind) {
      std::vector<float> own;
      for (const ckpt::Range& range : ranks.back()->RangesOf(rank)) {
        own.insert(own.end(), state[kind].begin() + range.begin, state[kind].begin() + range.end);
      }
      ranks.back()->ImportOwn(kind, own.data());
    }
  }
  return ranks;
}

TEST(Optimizer, HalfPrecisionStateResumesBitForBitAtAnyRankCount) {
  State state;
  for (auto& values : state) values.resize(FlatParams(TwoTowers(), 0, 1).num_elements());
  const at::Tensor start = Noise({static_cast<int64_t>(state[0].size())}, 8);
  std::copy_n(start.const_data_ptr<float>(), state[0].size(), state[0].begin());

  auto straight = RanksWith(state, 1);
  for (uint64_t step = 1; step <= 6; ++step) Update(*straight[0], step);
  const State expected = StateOf(straight);

  uint64_t step = 0;
  for (const int size : {4, 3, 1}) {
    auto ranks = RanksWith(state, size);
    for (const uint64_t last = step + 2; step < last;) {
      ++step;
      for (auto& flat : ranks) Update(*flat, step);
    }
    state = StateOf(ranks);
  }
  for (int kind = 0; kind < ckpt::kNumKinds; ++kind) {
    EXPECT_TRUE(state[kind] == expected[kind]) << "kind " << kind;
  }
}

// What rounding to the nearest cannot do: the second moment falls again after large gradients, and
// weights follow updates far below their spacing.
TEST(Optimizer, HalfPrecisionStateFollowsFp32) {
  const AdamWOptions options = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0};
  FlatParams exact(TwoTowers(), 0, 1), half(TwoTowers(), 0, 1, HalfPrecision());
  for (FlatParams* flat : {&exact, &half}) {
    for (const at::Tensor& weight : flat->views().weights) weight.fill_(1);
    for (int bucket = 0; bucket < flat->num_buckets(); ++bucket) {
      flat->own_weights(bucket).fill_(1);
    }
  }
  for (uint64_t step = 1; step <= 400; ++step) {
    for (FlatParams* flat : {&exact, &half}) {
      if (step == 1) SetGrads(*flat, 1000, 1);
      if (step == 20) SetGrads(*flat, 1000, 0.1);
      for (const at::Tensor& grad : flat->views().grads) grad.abs_();  // one direction
      for (int bucket = 0; bucket < flat->num_buckets(); ++bucket) {
        AdamWStep(*flat, bucket, options, step, 1e-4, 1);
      }
    }
  }
  const auto mean = [](const FlatParams& flat, int kind) {
    std::vector<float> own(flat.own_elements());
    flat.ExportOwn(kind, own.data());
    double sum = 0;
    for (const float value : own) sum += value;
    return sum / static_cast<double>(own.size());
  };
  EXPECT_NEAR(1 - mean(half, 0), 1 - mean(exact, 0), 0.02 * (1 - mean(exact, 0)));
  EXPECT_GT(1 - mean(exact, 0), 2.0 / 256)
      << "several spacings in all, each step a fortieth of one";
  EXPECT_NEAR(mean(half, 1), mean(exact, 1), 0.005 * mean(exact, 1));
  EXPECT_NEAR(mean(half, 2), mean(exact, 2), 0.005 * mean(exact, 2));
}

// A row of the token table that no batch holds for a thousand steps.
TEST(Optimizer, DenormalMomentsBecomeZeroAndOthersKeepTheirBits) {
  const AdamWOptions options;
  FlatParams plain(Params(), 0, 1), mixed(Params(), 0, 1);
  for (FlatParams* flat : {&plain, &mixed}) {
    for (int bucket = 0; bucket < flat->num_buckets(); ++bucket) {
      flat->own_weights(bucket).fill_(0.5);
      flat->own_grads(bucket).zero_();
      flat->own_exp_avg(bucket).fill_(1e-3);
      flat->own_exp_avg_sq(bucket).fill_(1e-6);
    }
  }
  int bucket = 0;
  FlatParams::Run run;  // the longest: beyond runs there is padding, which no step touches
  for (int i = 0; i < mixed.num_buckets(); ++i) {
    for (const FlatParams::Run& one : mixed.own_runs(i)) {
      if (one.count <= run.count) continue;
      bucket = i;
      run = one;
    }
  }
  ASSERT_GT(run.count, 1000);
  const auto idle = [&](const at::Tensor& t) { return t.narrow(0, run.begin, run.count / 2); };
  const auto rest = [&](const at::Tensor& t) {
    return t.narrow(0, run.begin + run.count / 2, run.count - run.count / 2);
  };
  // 0.9 times four of the smallest units rounds to four units again.
  idle(mixed.own_exp_avg(bucket)).fill_(4 * std::numeric_limits<float>::denorm_min());
  idle(mixed.own_exp_avg_sq(bucket)).fill_(1e-39);
  for (FlatParams* flat : {&plain, &mixed}) AdamWStep(*flat, bucket, options, 800, 1e-3, 1);
  EXPECT_EQ(idle(mixed.own_exp_avg(bucket)).abs().max().item<float>(), 0);
  EXPECT_EQ(idle(mixed.own_exp_avg_sq(bucket)).abs().max().item<float>(), 0);
  EXPECT_TRUE(rest(mixed.own_exp_avg(bucket)).equal(rest(plain.own_exp_avg(bucket))));
  EXPECT_TRUE(rest(mixed.own_exp_avg_sq(bucket)).equal(rest(plain.own_exp_avg_sq(bucket))));
  EXPECT_TRUE(rest(mixed.own_weights(bucket)).equal(rest(plain.own_weights(bucket))));
}

TEST(Optimizer, GlobalNormAndClip) {
  FlatParams flat(Params(), 0, 1);
  flat.views().grads[0].fill_(0.5);
  flat.views().grads[2].fill_(-3);
  const auto comm = MakeSingleComm();
  const double expected = std::sqrt(37 * 1001 * 0.25 + 9);
  EXPECT_NEAR(GlobalGradNorm(flat, *comm), expected, 1e-12 * expected);
  EXPECT_EQ(comm->sequence(), 1u);
  EXPECT_EQ(ClipScale(4, 1), 0.25);
  EXPECT_EQ(ClipScale(0.5, 1), 1);
  EXPECT_EQ(ClipScale(4, 0), 1) << "no limit";
}

TEST(Optimizer, LogitScaleStaysInItsRange) {
  at::Tensor log_scale = at::full({}, std::log(250.0), at::kFloat);
  EXPECT_NEAR(ClampLogitScale(log_scale, 100), 100, 1e-5);
  EXPECT_FLOAT_EQ(log_scale.item<float>(), std::log(100.0f));
  log_scale.fill_(-0.3);
  EXPECT_EQ(ClampLogitScale(log_scale, 100), 1);
  log_scale.fill_(std::log(1 / 0.07));
  EXPECT_NEAR(ClampLogitScale(log_scale, 100), 1 / 0.07, 1e-5);
}

}  // namespace
}  // namespace contrail::worker
