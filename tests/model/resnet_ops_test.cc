// Convolution, batch norm, pooling and folded attention, forward and backward, against ATen and its
// autograd in fp64.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "model/ops/op_table.h"
#include "tests/model/oracle.h"

namespace contrail::model {
namespace {

class ResnetOps : public testing::TestWithParam<at::ScalarType> {
 protected:
  double tolerance() const { return GetParam() == at::kDouble ? 1e-12 : 4e-6; }
  at::Tensor Random(at::IntArrayRef shape) { return RandomTensor(shape, ++seed_).to(GetParam()); }
  at::Tensor Empty(at::IntArrayRef shape) const {  // what is not written shows
    return at::full(shape, std::numeric_limits<double>::quiet_NaN(), GetParam());
  }
  static at::Tensor Leaf(const at::Tensor& t) {
    return t.to(at::kDouble).clone().requires_grad_(true);
  }
  // Rows of positions as the images that ATen knows, and back.
  static at::Tensor Images(const at::Tensor& rows, const ImageShape& s) {
    return rows.view({s.count, s.height, s.width, -1}).permute({0, 3, 1, 2});
  }
  static at::Tensor Rows(const at::Tensor& images) {
    return images.permute({0, 2, 3, 1}).reshape({-1, images.size(1)});
  }
  void ExpectClose(const at::Tensor& ours, const at::Tensor& theirs, const char* what) const {
    EXPECT_LT(Distance(ours, theirs), tolerance()) << what;
  }
  void ExpectAdded(const at::Tensor& buffer, const at::Tensor& before, const at::Tensor& grad,
                   const char* what) const {
    EXPECT_LT(Distance(buffer, before.to(at::kDouble) + grad.view_as(before)), tolerance()) << what;
  }

  const OpTable& ops_ = CpuOps();
  uint64_t seed_ = 500;
};

// Sizes around those of tiles, blocks of channels, panels and pieces; borders; both strides.
TEST_P(ResnetOps, Convolve) {
  struct Case {
    ImageShape in;
    int64_t channels, outputs, kernel, stride;
  };
  for (const auto& [in, c, n, k, stride] :
       {Case{{2, 9, 7}, 5, 6, 3, 1}, Case{{2, 9, 7}, 5, 6, 3, 2}, Case{{2, 8, 6}, 3, 70, 3, 2},
        Case{{3, 5, 5}, 80, 33, 3, 1}, Case{{1, 30, 31}, 16, 40, 3, 1},
        Case{{2, 4, 4}, 7, 300, 3, 1}, Case{{2, 9, 7}, 19, 21, 1, 1},
        Case{{1, 25, 20}, 300, 530, 1, 1}, Case{{1, 4, kLargestResolution}, 3, 6, 3, 2},
        Case{{1, 3, kLargestResolution / 2}, 70, 6, 3, 1}}) {
    // A thread's scratch has room for lines of the largest resolution in fp32.
    if (GetParam() == at::kDouble && in.width > kLargestResolution / 4) continue;
    const at::Tensor x = Random({in.rows(), c}), w = Random({n, c, k, k});
    const at::Tensor lx = Leaf(x), lw = Leaf(w);
    const at::Tensor expected = Rows(at::conv2d(Images(lx, in), lw, {}, stride, k / 2));
    const at::Tensor d = Random(expected.sizes());
    (expected * d).sum().backward();
    at::Tensor out = Empty(expected.sizes()), d_w = Random(w.sizes());
    const at::Tensor before = d_w.clone();
    ops_.Convolve({AsView(x), in}, AsView(w), stride, AsView(out), nullptr);
    ops_.ConvolveBackwardWeight({AsView(x), in}, stride, AsView(d), AsView(d_w));
    ExpectClose(out, expected, "out");
    ExpectAdded(d_w, before, lw.grad(), "d_w");
    if (stride > 1) continue;
    at::Tensor d_x = Empty(x.sizes()), added = Random(x.sizes());
    const at::Tensor there = added.clone();
    ops_.ConvolveBackwardInput(AsView(d), AsView(w), in, false, AsView(d_x), nullptr);
    ops_.ConvolveBackwardInput(AsView(d), AsView(w), in, true, AsView(added), nullptr);
    ExpectClose(d_x, lx.grad(), "d_x");
    ExpectAdded(added, there, lx.grad(), "d_x +=");
  }
}

// A norm with everything it stands on, and its oracle.
struct Normed {
  at::Tensor x, gain, bias, state, d_gain, d_bias;
  ImageShape shape;
  int64_t groups;
  at::Tensor lx, l_gain, l_bias, mean_sum, variance_sum;

  BatchNorm op() const {
    return {AsView(x),    shape,        groups,         AsView(state),
            AsView(gain), AsView(bias), AsView(d_gain), AsView(d_bias)};
  }
  // Of leaf `rows` [M, C]; running statistics as of PyTorch's momentum 0.1 from 0 and 1.
  at::Tensor Oracle(const at::Tensor& rows) {
    std::vector<at::Tensor> parts;
    const int64_t n = shape.rows() / groups, c = rows.size(1);
    mean_sum = at::zeros({c}, at::kDouble);
    variance_sum = at::zeros({c}, at::kDouble);
    for (int64_t g = 0; g < groups; ++g) {
      at::Tensor mean = at::zeros({c}, at::kDouble), variance = at::ones({c}, at::kDouble);
      parts.push_back(at::batch_norm(rows.narrow(0, g * n, n), l_gain, l_bias, mean, variance, true,
                                     0.1, 1e-5, false));
      mean_sum += mean / static_cast<double>(groups);
      variance_sum += variance / static_cast<double>(groups);
    }
    return at::cat(parts);
  }
};

#define MAKE_NORMED(name, in, g, c)                     \
  Normed name;                                          \
  name.shape = in;                                      \
  name.groups = g;                                      \
  name.x = Random({(in).rows(), c}) + 3;                \
  name.gain = Random({c});                              \
  name.bias = Random({c});                              \
  name.state = Empty({BatchNorm::kStateRows * (g), c}); \
  name.d_gain = Random({c});                            \
  name.d_bias = Random({c});                            \
  name.lx = Leaf(name.x);                               \
  name.l_gain = Leaf(name.gain);                        \
  name.l_bias = Leaf(name.bias)

// The chain of a bottleneck's middle, formed on the way: conv, norm, ReLU, conv, norm + residual,
// ReLU. Groups longer and shorter than a piece; a mean far from 0.
TEST_P(ResnetOps, NormBetweenConvolutions) {
  struct Case {
    ImageShape in;
    int64_t groups, kernel;
  };
  for (const auto& [in, groups, k] : {Case{{4, 3, 4}, 2, 3}, Case{{4, 20, 30}, 2, 3},
                                      Case{{6, 12, 13}, 1, 3}, Case{{4, 20, 30}, 2, 1}}) {
    const int64_t c0 = 10, c = 21, n = 37;
    const at::Tensor x = Random({in.rows(), c0}), w1 = Random({c, c0, 1, 1}) * 0.3;
    const at::Tensor w2 = Random({n, c, k, k}) * 0.1, residual = Random({in.rows(), n});
    const at::Tensor d = Random({in.rows(), n});
    const at::Tensor lx = Leaf(x), lw1 = Leaf(w1), lw2 = Leaf(w2), lr = Leaf(residual);
    MAKE_NORMED(first, in, groups, c);
    MAKE_NORMED(second, in, groups, n);
    const at::Tensor y1 = at::relu(first.Oracle(Rows(at::conv2d(Images(lx, in), lw1))));
    const at::Tensor z2 = second.Oracle(Rows(at::conv2d(Images(y1, in), lw2, {}, 1, k / 2)));
    const at::Tensor expected = at::relu(z2 + lr);
    (expected * d).sum().backward();

    at::Tensor y = Empty({in.rows(), n}), d_pre2 = Empty({in.rows(), n});
    at::Tensor d_pre1 = Empty({in.rows(), c}), d_x = Empty(x.sizes());
    at::Tensor d_w1 = at::zeros_like(w1), d_w2 = at::zeros_like(w2), d_z2 = d.clone();
    const at::Tensor gain1 = first.d_gain.clone(), bias1 = first.d_bias.clone();
    const at::Tensor gain2 = second.d_gain.clone(), bias2 = second.d_bias.clone();
    const BatchNorm norm1 = first.op(), norm2 = second.op();
    ops_.Convolve({AsView(x), in}, AsView(w1), 1, norm1.x, &norm1);
    ops_.Convolve({norm1.x, in, &norm1}, AsView(w2), 1, norm2.x, &norm2);
    ops_.BatchNormAdd(norm2, AsView(residual), nullptr, AsView(y));
    ops_.BatchNormThrough(AsView(d_z2), {&norm2, Through::Relu::kOutput, AsView(y)});
    ops_.BatchNormBackward(norm2, AsView(d_z2), AsView(d_pre2));
    ops_.ConvolveBackwardWeight({norm1.x, in, &norm1}, 1, AsView(d_pre2), AsView(d_w2));
    const Through through1{&norm1, Through::Relu::kOwn};
    ops_.ConvolveBackwardInput(AsView(d_pre2), AsView(w2), in, false, AsView(d_pre1), &through1);
    ops_.BatchNormBackward(norm1, AsView(d_pre1), AsView(d_pre1));
    ops_.ConvolveBackwardWeight({AsView(x), in}, 1, AsView(d_pre1), AsView(d_w1));
    ops_.ConvolveBackwardInput(AsView(d_pre1), AsView(w1), in, false, AsView(d_x), nullptr);
    ExpectClose(y, expected, "y");
    ExpectClose(d_z2, lr.grad(), "residual");
    ExpectClose(d_x, lx.grad(), "d_x");
    ExpectClose(d_w1, lw1.grad(), "d_w1");
    ExpectClose(d_w2, lw2.grad(), "d_w2");
    ExpectAdded(first.d_gain, gain1, first.l_gain.grad(), "d_gain 1");
    ExpectAdded(first.d_bias, bias1, first.l_bias.grad(), "d_bias 1");
    ExpectAdded(second.d_gain, gain2, second.l_gain.grad(), "d_gain 2");
    ExpectAdded(second.d_bias, bias2, second.l_bias.grad(), "d_bias 2");

    // The sums that a convolution takes on its way are those of a pass of their own, bit for bit.
    at::Tensor plain = Empty(d_pre1.sizes()), alone = Empty(first.state.sizes());
    Normed apart = first;
    apart.state = first.state.clone();
    const BatchNorm norm_apart = apart.op();
    ops_.ConvolveBackwardInput(AsView(d_pre2), AsView(w2), in, false, AsView(plain), nullptr);
    ops_.BatchNormThrough(AsView(plain), {&norm_apart, Through::Relu::kOwn});
    EXPECT_TRUE(apart.state.equal(first.state));

    at::Tensor sums = at::zeros({2, c}, GetParam());
    at::Tensor run_mean = at::zeros({c}, GetParam()), run_variance = at::ones({c}, GetParam());
    ops_.CollectStatistics(norm1, AsView(sums));
    ops_.FoldStatistics(AsView(sums), groups, 0.1, AsView(run_mean), AsView(run_variance));
    ExpectClose(run_mean, first.mean_sum, "running mean");
    ExpectClose(run_variance, first.variance_sum, "running variance");
    EXPECT_EQ(sums.abs().max().item<double>(), 0);
  }
}

// Statistics of values far from 0, by a convolution that only copies.
TEST_P(ResnetOps, StatisticsKeepTheirDigits) {
  const ImageShape in{2, 30, 20};
  const int64_t c = 21;
  const at::Tensor x = Random({in.rows(), c}) + 50, w = at::eye(c, GetParam()).view({c, c, 1, 1});
  MAKE_NORMED(normed, in, 2, c);
  const BatchNorm norm = normed.op();
  ops_.Convolve({AsView(x), in}, AsView(w), 1, norm.x, &norm);
  for (int64_t g = 0; g < 2; ++g) {
    const at::Tensor part = x.narrow(0, g * 600, 600).to(at::kDouble);
    ExpectClose(normed.state[8 * g], part.mean(0), "mean");
    ExpectClose(normed.state[8 * g + 2], part.var(0, false), "variance");
  }
}

TEST_P(ResnetOps, BatchNormFixed) {
  const ImageShape in{2, 7, 1};
  const int64_t c = 21;
  const at::Tensor mean = Random({c}), variance = Random({c}).abs(), residual = Random({14, c});
  MAKE_NORMED(normed, in, 1, c);
  MAKE_NORMED(other, in, 1, c);
  at::Tensor y = Empty({14, c}), both = Empty({14, c});
  const BatchNorm norm = normed.op(), norm_other = other.op();
  ops_.BatchNormFixed(norm, AsView(mean), AsView(variance));
  ops_.BatchNormFixed(norm_other, AsView(mean), AsView(variance));
  ops_.BatchNormAdd(norm, AsView(residual), nullptr, AsView(y));
  ops_.BatchNormAdd(norm, norm_other.x, &norm_other, AsView(both));
  const auto oracle = [&](const Normed& of) {
    return at::batch_norm(of.lx, of.l_gain, of.l_bias, mean.to(at::kDouble),
                          variance.to(at::kDouble), false, 0.1, 1e-5, false);
  };
  ExpectClose(y, at::relu(oracle(normed) + residual.to(at::kDouble)), "y");
  ExpectClose(both, at::relu(oracle(normed) + oracle(other)), "two norms");
}

TEST_P(ResnetOps, BatchNormKeepsNaN) {
  const ImageShape in{2, 4, 1};
  const at::Tensor x = Random({8, 3});
  at::Tensor y = at::zeros({8, 3}, GetParam()), w = at::eye(3, GetParam()).view({3, 3, 1, 1});
  w[1].fill_(std::numeric_limits<double>::quiet_NaN());
  MAKE_NORMED(normed, in, 1, 3);
  const BatchNorm norm = normed.op();
  ops_.Convolve({AsView(x), in}, AsView(w), 1, norm.x, &norm);
  ops_.BatchNormAdd(norm, {}, nullptr, AsView(y));
  EXPECT_TRUE(y.select(1, 1).isnan().all().item<bool>());
  EXPECT_FALSE(y.select(1, 0).isnan().any().item<bool>());
}

TEST_P(ResnetOps, AveragePool) {
  for (const auto& in : {ImageShape{2, 4, 6}, ImageShape{3, 5, 7}, ImageShape{2, 24, 30}}) {
    const int64_t c = 9;
    const at::Tensor x = Random({in.rows(), c}), lx = Leaf(x);
    const at::Tensor expected = Rows(at::avg_pool2d(Images(lx, in), {2, 2}));
    const at::Tensor d = Random(expected.sizes());
    (expected * d).sum().backward();
    at::Tensor out = Empty(expected.sizes()), d_x = Empty(x.sizes());
    ops_.AveragePool({AsView(x), in}, AsView(out));
    ops_.AveragePoolBackward(AsView(d), in, AsView(d_x), nullptr);
    ExpectClose(out, expected, "out");
    ExpectClose(d_x, lx.grad(), "d_x");

    MAKE_NORMED(normed, in, 1, c);
    const at::Tensor w = at::eye(c, GetParam()).view({c, c, 1, 1});
    const at::Tensor pooled =
        Rows(at::avg_pool2d(Images(at::relu(normed.Oracle(normed.lx)), in), {2, 2}));
    (pooled * d).sum().backward();
    const at::Tensor copy = normed.x.clone(), gain = normed.d_gain.clone();
    const BatchNorm norm = normed.op();
    const Through through{&norm, Through::Relu::kOwn};
    ops_.Convolve({AsView(copy), in}, AsView(w), 1, norm.x, &norm);
    ops_.AveragePool({norm.x, in, &norm}, AsView(out));
    ops_.AveragePoolBackward(AsView(d), in, AsView(d_x), &through);
    ops_.BatchNormBackward(norm, AsView(d_x), AsView(d_x));
    ExpectClose(out, pooled, "out of a norm");
    ExpectClose(d_x, normed.lx.grad(), "d_x of a norm");
    ExpectAdded(normed.d_gain, gain, normed.l_gain.grad(), "d_gain");
  }
}

// Chains whose every result is the same bits on one thread, two and five.
TEST_P(ResnetOps, ThreadsDoNotMatter) {
  const ImageShape in{6, 23, 21};
  const int64_t c = 70, n = 150;
  const at::Tensor x = Random({in.rows(), c}), w = Random({n, c, 3, 3}), d = Random({in.rows(), n});
  MAKE_NORMED(before, in, 2, c);
  MAKE_NORMED(normed, in, 2, n);
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    const BatchNorm norm = normed.op(), norm_before = before.op();
    const Through through{&norm_before, Through::Relu::kOutput, AsView(x)};
    before.state.fill_(0.5);
    at::Tensor d_w = at::zeros_like(w), d_x = Empty(x.sizes());
    ops_.Convolve({AsView(x), in, &norm_before}, AsView(w), 1, norm.x, &norm);
    ops_.ConvolveBackwardWeight({AsView(x), in, &norm_before}, 1, AsView(d), AsView(d_w));
    ops_.ConvolveBackwardInput(AsView(d), AsView(w), in, false, AsView(d_x), &through);
    at::set_num_threads(1);
    return std::vector<at::Tensor>{normed.x.clone(), normed.state.narrow(0, 0, 5).clone(), d_w, d_x,
                                   before.state.clone()};
  };
  const std::vector<at::Tensor> one = run(1);
  for (const int threads : {2, 5}) {
    const std::vector<at::Tensor> many = run(threads);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(many[i])) << i;
  }
}

TEST_P(ResnetOps, PoolTokens) {
  const int64_t b = 3, p = 4, c = 10;
  const at::Tensor x = Random({b * p, c}), pos = Random({p + 1, c}), d = Random({b * (p + 1), c});
  const at::Tensor lx = Leaf(x), lp = Leaf(pos), t = lx.view({b, p, c});
  const at::Tensor expected = (at::cat({t.mean(1, true), t}, 1) + lp).reshape({-1, c});
  (expected * d).sum().backward();
  at::Tensor tokens = Empty({b * (p + 1), c}), d_x = Empty({b * p, c}), d_pos = Random({p + 1, c});
  const at::Tensor before = d_pos.clone();
  ops_.PoolTokens(AsView(x), b, AsView(pos), AsView(tokens));
  ops_.PoolTokensBackward(AsView(d), b, AsView(d_x), AsView(d_pos));
  ExpectClose(tokens, expected, "tokens");
  ExpectClose(d_x, lx.grad(), "d_x");
  ExpectAdded(d_pos, before, lp.grad(), "d_pos");
}

TEST_P(ResnetOps, FoldedAttention) {
  const int64_t b = 3, length = 5, c = 10, heads = 2;
  const at::Tensor t = Random({b * length, c}), u = Random({b, heads * c});
  const at::Tensor lt = Leaf(t), lu = Leaf(u), t3 = lt.view({b, length, c});
  const at::Tensor a =
      at::softmax(at::matmul(lu.view({b, heads, c}), t3.transpose(1, 2)) * 0.3, -1);
  const at::Tensor expected = at::matmul(a, t3).reshape({b, heads * c});
  const at::Tensor d = Random(expected.sizes());
  (expected * d).sum().backward();
  at::Tensor weights = Empty({b, heads * length}), z = Empty({b, heads * c});
  at::Tensor d_t = Empty(t.sizes()), d_u = Empty(u.sizes());
  ops_.FoldedAttention(AsView(t), AsView(u), heads, 0.3, AsView(weights), AsView(z));
  ops_.FoldedAttentionBackward(AsView(t), AsView(u), heads, 0.3, AsView(weights), AsView(d),
                               AsView(d_t), AsView(d_u));
  ExpectClose(z, expected, "z");
  ExpectClose(d_t, lt.grad(), "d_tokens");
  ExpectClose(d_u, lu.grad(), "d_u");
}

TEST_P(ResnetOps, Add) {
  const at::Tensor from = Random({7, 9});
  at::Tensor to = Random({7, 9});
  const at::Tensor expected = to + from;
  ops_.Add(AsView(from), AsView(to));
  EXPECT_TRUE(to.equal(expected));
}

std::string TypeName(const testing::TestParamInfo<at::ScalarType>& tested) {
  return tested.param == at::kDouble ? "fp64" : "fp32";
}
INSTANTIATE_TEST_SUITE_P(Types, ResnetOps, testing::Values(at::kFloat, at::kDouble), TypeName);

}  // namespace
}  // namespace contrail::model
