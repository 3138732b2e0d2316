// Convolution, batch norm, pooling and folded attention, forward and backward, against ATen and its
// autograd in fp64.
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

TEST_P(ResnetOps, Convolve) {
  for (const int64_t stride : {1, 2}) {
    const ImageShape in{2, 9, 7};
    const at::Tensor x = Random({in.rows(), 5}), w = Random({6, 5, 3, 3});
    const at::Tensor lx = Leaf(x), lw = Leaf(w);
    const at::Tensor expected = Rows(at::conv2d(Images(lx, in), lw, {}, stride, 1));
    const at::Tensor d = Random(expected.sizes());
    (expected * d).sum().backward();
    at::Tensor out = Empty(expected.sizes()), d_x = Empty(x.sizes());
    at::Tensor d_w = Random(w.sizes());
    const at::Tensor before = d_w.clone();
    ops_.Convolve(AsView(x), in, AsView(w), stride, AsView(out));
    ops_.ConvolveBackward(AsView(x), in, AsView(w), stride, AsView(d), AsView(d_x), AsView(d_w));
    ExpectClose(out, expected, "out");
    ExpectClose(d_x, lx.grad(), "d_x");
    ExpectAdded(d_w, before, lw.grad(), "d_w");
    at::Tensor again = before.clone();
    ops_.ConvolveBackward(AsView(x), in, AsView(w), stride, AsView(d), {}, AsView(again));
    ExpectAdded(again, before, lw.grad(), "d_w alone");
  }
}

// Groups longer and shorter than the chunks that sums run over; a mean far from 0.
TEST_P(ResnetOps, BatchNorm) {
  for (const auto& [rows, groups] : {std::pair<int64_t, int64_t>{14, 2}, {1200, 2}, {700, 1}}) {
    for (const bool relu : {true, false}) {
      for (const bool with_residual : {true, false}) {
        const int64_t c = 21, n = rows / groups;
        const at::Tensor x = Random({rows, c}) + 3, gain = Random({c}), bias = Random({c});
        const at::Tensor residual = Random({rows, c}), d = Random({rows, c});
        const at::Tensor lx = Leaf(x), lg = Leaf(gain), lb = Leaf(bias), lr = Leaf(residual);
        at::Tensor mean, variance;
        std::vector<at::Tensor> parts;
        at::Tensor mean_sum = at::zeros({c}, at::kDouble);
        at::Tensor variance_sum = at::zeros({c}, at::kDouble);
        for (int64_t g = 0; g < groups; ++g) {
          mean = at::zeros({c}, at::kDouble);
          variance = at::ones({c}, at::kDouble);
          parts.push_back(at::batch_norm(lx.narrow(0, g * n, n), lg, lb, mean, variance, true, 0.1,
                                         1e-5, false));
          mean_sum += mean / static_cast<double>(groups);
          variance_sum += variance / static_cast<double>(groups);
        }
        at::Tensor expected = at::cat(parts);
        if (with_residual) expected = expected + lr;
        if (relu) expected = at::relu(expected);
        (expected * d).sum().backward();

        at::Tensor y = Empty({rows, c}), stats = Empty({3 * groups, c}), d_x = Empty({rows, c});
        at::Tensor d_residual = Empty({rows, c}), d_gain = Random({c}), d_bias = Random({c});
        const at::Tensor before_gain = d_gain.clone(), before_bias = d_bias.clone();
        const View add = with_residual ? AsView(residual) : View{};
        ops_.BatchNorm(AsView(x), AsView(gain), AsView(bias), add, relu, groups, AsView(y),
                       AsView(stats));
        ops_.BatchNormBackward(AsView(x), AsView(stats), AsView(gain), relu ? AsView(y) : View{},
                               AsView(d), groups, AsView(d_x),
                               with_residual ? AsView(d_residual) : View{}, AsView(d_gain),
                               AsView(d_bias));
        ExpectClose(y, expected, "y");
        ExpectClose(d_x, lx.grad(), "d_x");
        ExpectAdded(d_gain, before_gain, lg.grad(), "d_gain");
        ExpectAdded(d_bias, before_bias, lb.grad(), "d_bias");
        if (with_residual) ExpectClose(d_residual, lr.grad(), "d_residual");

        at::Tensor in_place = d.clone();  // the gradient of x over that of y
        ops_.BatchNormBackward(AsView(x), AsView(stats), AsView(gain), relu ? AsView(y) : View{},
                               AsView(in_place), groups, AsView(in_place), {}, AsView(d_gain),
                               AsView(d_bias));
        EXPECT_TRUE(in_place.equal(d_x));

        at::Tensor sums = at::zeros({2, c}, GetParam());
        at::Tensor run_mean = at::zeros({c}, GetParam()), run_variance = at::ones({c}, GetParam());
        ops_.CollectStatistics(AsView(stats), groups, n, AsView(sums));
        ops_.FoldStatistics(AsView(sums), groups, 0.1, AsView(run_mean), AsView(run_variance));
        ExpectClose(run_mean, mean_sum, "running mean");
        ExpectClose(run_variance, variance_sum, "running variance");
        EXPECT_EQ(sums.abs().max().item<double>(), 0);
      }
    }
  }
}

TEST_P(ResnetOps, BatchNormFixed) {
  const int64_t c = 21;
  const at::Tensor x = Random({14, c}), gain = Random({c}), bias = Random({c});
  const at::Tensor mean = Random({c}), variance = Random({c}).abs(), residual = Random({14, c});
  at::Tensor y = Empty({14, c});
  ops_.BatchNormFixed(AsView(x), AsView(gain), AsView(bias), AsView(mean), AsView(variance),
                      AsView(residual), true, AsView(y));
  const at::Tensor normed = at::batch_norm(Leaf(x), Leaf(gain), Leaf(bias), mean.to(at::kDouble),
                                           variance.to(at::kDouble), false, 0.1, 1e-5, false);
  ExpectClose(y, at::relu(normed + residual.to(at::kDouble)), "y");
}

TEST_P(ResnetOps, BatchNormKeepsNaN) {
  at::Tensor x = Random({8, 3});
  x[2][1].fill_(std::numeric_limits<double>::quiet_NaN());
  const at::Tensor gain = Random({3}), bias = Random({3});
  at::Tensor y = at::zeros({8, 3}, GetParam()), stats = Empty({3, 3});
  ops_.BatchNorm(AsView(x), AsView(gain), AsView(bias), {}, true, 1, AsView(y), AsView(stats));
  EXPECT_TRUE(y.select(1, 1).isnan().all().item<bool>());
  EXPECT_FALSE(y.select(1, 0).isnan().any().item<bool>());
}

TEST_P(ResnetOps, AveragePool) {
  for (const auto& in : {ImageShape{2, 4, 6}, ImageShape{3, 5, 7}}) {
    const at::Tensor x = Random({in.rows(), 9}), lx = Leaf(x);
    const at::Tensor expected = Rows(at::avg_pool2d(Images(lx, in), {2, 2}));
    const at::Tensor d = Random(expected.sizes());
    (expected * d).sum().backward();
    at::Tensor out = Empty(expected.sizes()), d_x = Empty(x.sizes());
    ops_.AveragePool(AsView(x), in, AsView(out));
    ops_.AveragePoolBackward(AsView(d), in, AsView(d_x));
    ExpectClose(out, expected, "out");
    ExpectClose(d_x, lx.grad(), "d_x");
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
