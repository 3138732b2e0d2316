// Every op, forward and backward, against ATen and its autograd in fp64, on every instruction set
// of this machine, in fp32 and fp64, at sizes that are no multiple of anything.
#include <gtest/gtest.h>

#include "model/ops/cpu_ops.h"
#include "tests/model/oracle.h"

namespace contrail::model {
namespace {

struct Case {
  const char* isa;
  at::ScalarType type;
};

class Ops : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto* f = kernels::Named<float>(GetParam().isa);
    const auto* d = kernels::Named<double>(GetParam().isa);
    if (f == nullptr || d == nullptr) GTEST_SKIP() << "this processor lacks " << GetParam().isa;
    ops_ = std::make_unique<CpuOpTable>(*f, *d, *kernels::NamedMixed(GetParam().isa));
  }

  at::ScalarType type() const { return GetParam().type; }
  double tolerance() const { return type() == at::kDouble ? 1e-13 : 2e-6; }

  // What an op gets of an fp64 tensor: its values in the type under test.
  at::Tensor Cast(const at::Tensor& t) const { return t.detach().to(type()).contiguous(); }
  // The same values in fp64 with a gradient: what the oracle gets.
  at::Tensor Leaf(const at::Tensor& cast) const {
    return cast.to(at::kDouble).clone().requires_grad_(true);
  }
  at::Tensor Random(at::IntArrayRef shape) { return Cast(RandomTensor(shape, ++seed_)); }
  at::Tensor Empty(at::IntArrayRef shape) const {  // what is not written shows
    return at::full(shape, std::numeric_limits<double>::quiet_NaN(), type());
  }

  void ExpectClose(const at::Tensor& ours, const at::Tensor& theirs, const char* what,
                   double factor = 1) const {
    EXPECT_LT(Distance(ours, theirs), factor * tolerance()) << what;
  }
  // A gradient that the op accumulated into a buffer that held `before`.
  void ExpectAdded(const at::Tensor& buffer, const at::Tensor& before, const at::Tensor& grad,
                   const char* what) const {
    EXPECT_LT(Distance(buffer, before.to(at::kDouble) + grad), tolerance()) << what;
  }

  std::unique_ptr<CpuOpTable> ops_;
  uint64_t seed_ = 100;
};

// rows, inputs, outputs: empty, single, a whole tile, and beyond the packing depth of 256.
const std::vector<std::array<int64_t, 3>> kProducts = {{1, 1, 1},     {6, 64, 64},    {7, 13, 5},
                                                       {33, 300, 71}, {50, 128, 130}, {19, 515, 33},
                                                       {130, 20, 600}};

TEST_P(Ops, Linear) {
  for (const auto& [m, k, n] : kProducts) {
    const at::Tensor x = Random({m, k}), w = Random({n, k}), bias = Random({n}),
                     residual = Random({m, n}), d_out = Random({m, n});
    const at::Tensor lx = Leaf(x), lw = Leaf(w), lb = Leaf(bias);
    const at::Tensor product = at::linear(lx, lw, lb);
    (product * d_out).sum().backward();

    at::Tensor out = Empty({m, n});
    ops_->Linear(AsView(x), AsView(w), AsView(bias), {}, AsView(out));
    ExpectClose(out, product, "bias");
    ops_->Linear(AsView(x), AsView(w), AsView(bias), AsView(residual), AsView(out));
    ExpectClose(out, product + residual, "residual");
    at::Tensor in_place = residual.clone();
    ops_->Linear(AsView(x), AsView(w), AsView(bias), AsView(in_place), AsView(in_place));
    EXPECT_TRUE(in_place.equal(out));

    at::Tensor d_x = Empty({m, k}), d_w = Random({n, k}), d_b = Random({n});
    const at::Tensor before_w = d_w.clone(), before_b = d_b.clone();
    ops_->LinearBackwardInput(AsView(d_out), AsView(w), AsView(d_x));
    ops_->LinearBackwardWeight(AsView(x), AsView(d_out), AsView(d_w), AsView(d_b));
    ExpectClose(d_x, lx.grad(), "d_x");
    ExpectAdded(d_w, before_w, lw.grad(), "d_w");
    ExpectAdded(d_b, before_b, lb.grad(), "d_bias");
  }
}

TEST_P(Ops, LinearActivation) {
  for (const Activation f : {Activation::kQuickGelu, Activation::kGelu}) {
    for (const auto& [m, k, n] : kProducts) {
      const at::Tensor x = Random({m, k}), w = Random({n, k}), bias = Random({n});
      const at::Tensor expected_pre = at::linear(Leaf(x), Leaf(w), Leaf(bias)).detach();
      at::Tensor pre = Empty({m, n}), act = Empty({m, n});
      ops_->LinearActivation(AsView(x), AsView(w), AsView(bias), f, AsView(pre), AsView(act));
      at::Tensor again = Empty({m, n});
      ops_->Activate(AsView(pre), f, AsView(again));
      EXPECT_TRUE(again.equal(act));
      ExpectClose(pre, expected_pre, "pre");
      const at::Tensor lp = Leaf(pre);
      const at::Tensor expected =
          f == Activation::kGelu ? at::gelu(lp) : lp * at::sigmoid(1.702 * lp);
      ExpectClose(act, expected, "act");

      // Through a following layer [p, n] and back to pre.
      const at::Tensor w2 = Random({9, n}), d_out = Random({m, 9});
      (at::matmul(expected, w2.to(at::kDouble).t()) * d_out).sum().backward();
      at::Tensor d_pre = Empty({m, n});
      ops_->LinearActivationBackwardInput(AsView(d_out), AsView(w2), f, AsView(pre), AsView(d_pre));
      ExpectClose(d_pre, lp.grad(), "d_pre");
    }
  }
}

// Far out on both sides nothing overflows, and each entry keeps its own digits.
TEST_P(Ops, ActivationsAreAccurateEverywhere) {
  const at::Tensor x = Cast(at::linspace(-120, 120, 4801, at::kDouble).view({1, 4801}));
  const at::Tensor one = at::ones({1, 1}, type()), zero = at::zeros({1, 4801}, type());
  for (const Activation f : {Activation::kQuickGelu, Activation::kGelu}) {
    at::Tensor pre = Empty({1, 4801}), act = Empty({1, 4801}), slope = Empty({1, 4801});
    const at::Tensor weight = x.view({4801, 1});
    ops_->LinearActivation(AsView(one), AsView(weight), {}, f, AsView(pre), AsView(act));
    const at::Tensor leaf = Leaf(x);
    const at::Tensor expected =
        f == Activation::kGelu ? at::gelu(leaf) : leaf * at::sigmoid(1.702 * leaf);
    expected.sum().backward();
    const at::Tensor ones = at::ones({1, 4801}, type());
    ops_->LinearActivationBackwardInput(AsView(one), AsView(ones), f, AsView(x), AsView(slope));
    const double eps = type() == at::kDouble ? 1e-14 : 5e-7;
    const at::Tensor allowed = eps * (1 + leaf.abs().minimum(at::scalar_tensor(8.0, at::kDouble)));
    const at::Tensor large = eps * leaf.abs() + allowed;
    EXPECT_TRUE(((act.to(at::kDouble) - expected).abs() <= large).all().item<bool>());
    EXPECT_TRUE(((slope.to(at::kDouble) - leaf.grad()).abs() <= allowed).all().item<bool>());
  }
}

TEST_P(Ops, Project) {
  for (const auto& [m, k, n] : kProducts) {
    const at::Tensor x = Random({m, k}), w = Random({k, n}), d_out = Random({m, n});
    const at::Tensor lx = Leaf(x), lw = Leaf(w);
    const at::Tensor expected = at::matmul(lx, lw);
    (expected * d_out).sum().backward();
    at::Tensor out = Empty({m, n}), d_x = Empty({m, k}), d_w = Random({k, n});
    const at::Tensor before = d_w.clone();
    ops_->Project(AsView(x), AsView(w), AsView(out));
    ops_->ProjectBackward(AsView(x), AsView(w), AsView(d_out), AsView(d_x), AsView(d_w));
    ExpectClose(out, expected, "out");
    ExpectClose(d_x, lx.grad(), "d_x");
    ExpectAdded(d_w, before, lw.grad(), "d_w");
    at::Tensor sum = d_out.clone();
    ops_->AddProduct(AsView(x), AsView(w), AsView(sum));
    ExpectAdded(sum, d_out, expected, "sum");
  }
}

TEST_P(Ops, LayerNorm) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 3}, {70, 128}, {131, 77}, {5, 1000}}) {
    const at::Tensor x = Cast(RandomTensor({m, n}, ++seed_) * 3 + 5);
    const at::Tensor gain = Random({n}), bias = Random({n}), d_y = Random({m, n});
    const at::Tensor lx = Leaf(x), lg = Leaf(gain), lb = Leaf(bias);
    const at::Tensor expected = at::layer_norm(lx, {n}, lg, lb, 1e-5);
    (expected * d_y).sum().backward();
    at::Tensor y = Empty({m, n}), stats = Empty({m, 2});
    ops_->LayerNorm(AsView(x), AsView(gain), AsView(bias), AsView(y), AsView(stats));
    ExpectClose(y, expected, "y", 4);

    at::Tensor d_x = Random({m, n}), d_gain = Random({n}), d_bias = Random({n});
    const at::Tensor before = d_x.clone(), before_gain = d_gain.clone(),
                     before_bias = d_bias.clone();
    ops_->LayerNormBackward(AsView(x), AsView(stats), AsView(gain), AsView(d_y), /*add=*/true,
                            AsView(d_x), AsView(d_gain), AsView(d_bias));
    ExpectAdded(d_x, before, lx.grad(), "d_x added");
    ExpectAdded(d_gain, before_gain, lg.grad(), "d_gain");
    ExpectAdded(d_bias, before_bias, lb.grad(), "d_bias");
    at::Tensor in_place = d_y.clone();
    ops_->LayerNormBackward(AsView(x), AsView(stats), AsView(gain), AsView(in_place),
                            /*add=*/false, AsView(in_place), AsView(d_gain), AsView(d_bias));
    if (n > 3) ExpectClose(in_place, lx.grad(), "d_x", 4);
  }
}

// Lengths below, at and far beyond a register, and beyond the 48 queries held at a time.
class OpsAttention : public Ops {
 protected:
  void Check(const std::vector<int32_t>& offsets, int64_t longest);
};

void OpsAttention::Check(const std::vector<int32_t>& offsets, int64_t longest) {
  constexpr int64_t kHeads = 3;
  const int64_t tokens = offsets.back(), count = static_cast<int64_t>(offsets.size()) - 1;
  for (const int64_t dim : {64, 12}) {
    for (const bool causal : {false, true}) {
      for (const bool single : {false, true}) {
        const int64_t w = kHeads * dim, queries = single ? count : tokens;
        // Packed [T, 3w], as the blocks pass it; q apart where it is one row a sequence.
        const at::Tensor qkv = Random({tokens, 3 * w}), q_rows = Random({count, w});
        const View all = AsView(qkv);
        const View q = single ? AsView(q_rows) : all.Cols(0, w);
        AttentionShape shape{{count, offsets.data(), 0, longest}, kHeads, causal, single};
        at::Tensor out = at::zeros({queries, w}, type()),
                   lse = at::zeros({queries, kHeads}, type());
        ops_->Attention(shape, q, all.Cols(w, w), all.Cols(2 * w, w), AsView(out), AsView(lse));

        const at::Tensor leaf = Leaf(qkv), leaf_q = Leaf(q_rows);
        std::vector<at::Tensor> rows;
        for (size_t i = 0; i + 1 < offsets.size(); ++i) {
          const int64_t begin = offsets[i], length = offsets[i + 1] - begin;
          const auto heads = [&](const at::Tensor& t) {
            return t.reshape({t.size(0), kHeads, dim}).transpose(0, 1);
          };
          const at::Tensor part = leaf.narrow(0, begin, length);
          const at::Tensor query =
              single ? leaf_q.narrow(0, static_cast<int64_t>(i), 1) : part.narrow(1, 0, w);
          if (length == 0) {
            if (single) rows.push_back(at::zeros({1, w}, at::kDouble));
            continue;
          }
          at::Tensor scores =
              at::matmul(heads(query), heads(part.narrow(1, w, w)).transpose(1, 2)) /
              std::sqrt(static_cast<double>(dim));
          if (causal && !single) {
            scores = scores.masked_fill(at::ones({length, length}, at::kBool).triu(1),
                                        -std::numeric_limits<double>::infinity());
          }
          rows.push_back(at::matmul(at::softmax(scores, -1), heads(part.narrow(1, 2 * w, w)))
                             .transpose(0, 1)
                             .reshape({query.size(0), w}));
        }
        const at::Tensor expected = at::cat(rows);
        const at::Tensor d_out = Random({queries, w});
        (expected * d_out).sum().backward();
        ExpectClose(out, expected, "out", 2);

        at::Tensor d_qkv = Empty({tokens, 3 * w}), d_q_rows = at::zeros({count, w}, type());
        const View d_all = AsView(d_qkv);
        ops_->AttentionBackward(
            shape, q, all.Cols(w, w), all.Cols(2 * w, w), AsView(out), AsView(lse), AsView(d_out),
            single ? AsView(d_q_rows) : d_all.Cols(0, w), d_all.Cols(w, w), d_all.Cols(2 * w, w));
        const int64_t first = single ? w : 0;
        ExpectClose(d_qkv.slice(1, first), leaf.grad().slice(1, first), "d_qkv", 4);
        if (single) ExpectClose(d_q_rows, leaf_q.grad(), "d_q", 4);
      }
    }
  }
}

TEST_P(OpsAttention, IsSoftmaxOfScores) { Check({0, 1, 18, 35, 112, 112, 177, 180}, 77); }
// ViT-B/16 at 448 px has 785 positions, more than a thread's memory has room for at first.
TEST_P(OpsAttention, OfLongSequences) { Check({0, 785, 790}, 785); }

// A NaN or an overflow in one row's operands must show in that row, and is seen only if it does.
TEST_P(OpsAttention, WhatIsNotFiniteStaysSo) {
  constexpr int64_t kRows = 53, kDim = 12;
  const double infinity = std::numeric_limits<double>::infinity();
  const auto rows_that_show = [&](int64_t row, int64_t column, double value) {
    at::Tensor qkv = RandomTensor({kRows, 3 * kDim}, 7).abs();
    if (column < 0) {
      qkv.narrow(1, 0, 2 * kDim).fill_(value);
    } else {
      qkv[row][column] = value;
    }
    qkv = Cast(qkv);
    const View all = AsView(qkv);
    at::Tensor out = at::zeros({kRows, kDim}, type()), lse = at::zeros({kRows, 1}, type());
    ops_->Attention({{1, nullptr, kRows, kRows}, 1, false, false}, all.Cols(0, kDim),
                    all.Cols(kDim, kDim), all.Cols(2 * kDim, kDim), AsView(out), AsView(lse));
    return at::isnan(out).any(1).sum().item<int64_t>();
  };
  for (const double value : {std::nan(""), infinity}) {
    EXPECT_EQ(rows_that_show(50, 3, value), 1) << "a query";
    EXPECT_EQ(rows_that_show(50, kDim + 3, value), kRows) << "a key";
  }
  EXPECT_EQ(rows_that_show(0, -1, std::nan("")), kRows);
  if (type() == at::kFloat) {
    EXPECT_EQ(rows_that_show(0, -1, 1e30), kRows) << "the scores overflow";
  }
  EXPECT_EQ(rows_that_show(0, 0, 1), 0);
}

// Scores of thousands: the softmax is a choice, and nothing overflows.
TEST_P(Ops, AttentionOfLargeScores) {
  const at::Tensor qkv = Cast(RandomTensor({17, 3 * 64}, 1) * 60);
  const View all = AsView(qkv);
  AttentionShape shape{{1, nullptr, 17, 17}, 1, false, false};
  at::Tensor out = Empty({17, 64}), lse = Empty({17, 1});
  ops_->Attention(shape, all.Cols(0, 64), all.Cols(64, 64), all.Cols(128, 64), AsView(out),
                  AsView(lse));
  const at::Tensor t = qkv.to(at::kDouble);
  const at::Tensor p = at::softmax(at::matmul(t.narrow(1, 0, 64), t.narrow(1, 64, 64).t()) / 8, -1);
  EXPECT_LT(Distance(out, at::matmul(p, t.narrow(1, 128, 64))),
            type() == at::kDouble ? 1e-11 : 1e-3);
}

TEST_P(Ops, PatchifyIsTheConvolutionsInput) {
  const at::Tensor images = RandomImages(3, 12, 5);
  at::Tensor out = Empty({3 * 9, 3 * 16});
  ops_->Patchify(images.const_data_ptr<uint8_t>(), 3, 12, 4, NormalisationNamed("clip"),
                 AsView(out));
  const auto channel = [](std::vector<double> v) {
    return at::tensor(v, at::kDouble).view({1, 3, 1, 1});
  };
  const at::Tensor pixels =
      (images.to(at::kDouble) / 255.0 - channel({0.48145466, 0.4578275, 0.40821073})) /
      channel({0.26862954, 0.26130258, 0.27577711});
  const at::Tensor expected =
      pixels.view({3, 3, 3, 4, 3, 4}).permute({0, 2, 4, 1, 3, 5}).reshape({27, 48});
  ExpectClose(out, expected, "patches");

  ops_->Patchify(images.const_data_ptr<uint8_t>(), 3, 12, 4, NormalisationNamed("half"),
                 AsView(out));
  ExpectClose(out,
              ((images.to(at::kDouble) / 255.0 - 0.5) / 0.5)
                  .view({3, 3, 3, 4, 3, 4})
                  .permute({0, 2, 4, 1, 3, 5})
                  .reshape({27, 48}),
              "patches of half");
}

TEST_P(Ops, AssembleTokens) {
  const at::Tensor patches = Random({3 * 4, 21}), cls = Random({21}), pos = Random({5, 21});
  const at::Tensor lp = Leaf(patches), lc = Leaf(cls), ls = Leaf(pos), d_out = Random({15, 21});
  const at::Tensor expected =
      (at::cat({lc.expand({3, 1, 21}), lp.view({3, 4, 21})}, 1) + ls).reshape({15, 21});
  (expected * d_out).sum().backward();
  at::Tensor out = Empty({15, 21}), d_patches = Empty({12, 21});
  at::Tensor d_cls = Random({21}), d_pos = Random({5, 21});
  const at::Tensor before_cls = d_cls.clone(), before_pos = d_pos.clone();
  ops_->AssembleTokens(AsView(patches), AsView(cls), AsView(pos), AsView(out));
  ops_->AssembleTokensBackward(AsView(d_out), AsView(d_patches), AsView(d_cls), AsView(d_pos));
  ExpectClose(out, expected, "tokens");
  ExpectClose(d_patches, lp.grad(), "d_patches");
  ExpectAdded(d_cls, before_cls, lc.grad(), "d_cls");
  ExpectAdded(d_pos, before_pos, ls.grad(), "d_pos");
}

TEST_P(Ops, Embed) {
  const std::vector<int32_t> offsets = {0, 4, 5, 11};
  const std::vector<int32_t> ids = {7, 3, 3, 9, 2, 7, 7, 7, 1, 0, 9};  // repeats must add up
  const Sequences captions{3, offsets.data(), 0, 6};
  const at::Tensor table = Random({10, 150}), pos = Random({8, 150}), d_out = Random({11, 150});
  const at::Tensor lt = Leaf(table), lp = Leaf(pos);
  const at::Tensor positions = at::tensor({0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5}, at::kLong);
  const at::Tensor expected =
      at::embedding(lt, at::tensor(ids, at::kLong)) + at::embedding(lp, positions);
  (expected * d_out).sum().backward();
  at::Tensor out = Empty({11, 150}), d_table = Random({10, 150}), d_pos = Random({8, 150});
  const at::Tensor before_table = d_table.clone(), before_pos = d_pos.clone();
  ops_->Embed(ids.data(), captions, AsView(table), AsView(pos), AsView(out));
  ops_->EmbedBackward(ids.data(), captions, AsView(d_out), AsView(d_table), AsView(d_pos));
  ExpectClose(out, expected, "out");
  ExpectAdded(d_table, before_table, lt.grad(), "d_table");
  ExpectAdded(d_pos, before_pos, lp.grad(), "d_pos");
}

TEST_P(Ops, GatherAndScatterRows) {
  const std::vector<int32_t> offsets = {0, 2, 3, 7};
  const Sequences ragged{3, offsets.data(), 0, 4};
  const at::Tensor x = Random({7, 19}), rows = Random({3, 19});
  for (const auto& [pick, index] : {std::pair{OpTable::Pick::kFirst, std::vector<int64_t>{0, 2, 3}},
                                    {OpTable::Pick::kLast, std::vector<int64_t>{1, 2, 6}}}) {
    const at::Tensor at_rows = at::tensor(index, at::kLong);
    at::Tensor out = Empty({3, 19}), sum = x.clone();
    ops_->GatherRows(AsView(x), ragged, pick, AsView(out));
    EXPECT_TRUE(out.equal(x.index_select(0, at_rows)));
    ops_->ScatterAddRows(AsView(rows), ragged, pick, AsView(sum));
    EXPECT_TRUE(sum.equal(x.index_add(0, at_rows, rows)));
  }
}

TEST_P(Ops, Normalize) {
  const at::Tensor x = Random({9, 131}), d_y = Random({9, 131}), lx = Leaf(x);
  const at::Tensor expected = lx / lx.norm(2, {-1}, true);
  (expected * d_y).sum().backward();
  at::Tensor y = Empty({9, 131}), norms = Empty({9, 1}), d_x = Empty({9, 131});
  ops_->Normalize(AsView(x), AsView(y), AsView(norms));
  ops_->NormalizeBackward(AsView(y), AsView(norms), AsView(d_y), AsView(d_x));
  ExpectClose(y, expected, "y");
  ExpectClose(d_x, lx.grad(), "d_x");
}

// A sum of squares beyond the largest number is told by a NaN; a row of zeros would be taken for
// features.
TEST_P(Ops, NormalizeOfAnOverflow) {
  const double large = type() == at::kDouble ? 1e160 : 1e20;
  const at::Tensor x = Cast(at::full({2, 37}, large, at::kDouble));
  at::Tensor y = at::zeros({2, 37}, type()), norms = Empty({2, 1});
  x[1].fill_(1);
  ops_->Normalize(AsView(x), AsView(y), AsView(norms));
  EXPECT_TRUE(at::isnan(y[0]).all().item<bool>());
  EXPECT_TRUE(at::isfinite(y[1]).all().item<bool>());
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.isa) + (info.param.type == at::kDouble ? "_fp64" : "_fp32");
}
const auto kCases = testing::Values(Case{"avx512", at::kFloat}, Case{"avx512", at::kDouble},
                                    Case{"avx2", at::kFloat}, Case{"avx2", at::kDouble},
                                    Case{"baseline", at::kFloat}, Case{"baseline", at::kDouble});
INSTANTIATE_TEST_SUITE_P(Cpu, Ops, kCases, CaseName);
INSTANTIATE_TEST_SUITE_P(Cpu, OpsAttention, kCases, CaseName);

}  // namespace
}  // namespace contrail::model
