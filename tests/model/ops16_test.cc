// Every op on bf16 and fp16 against fp64, on every instruction set of this machine: inputs are
// rounded to the type first, so what is left is the rounding of outputs and of operands that
// products round on their way: half a unit of the type each, relative to the largest of a row of
// numbers alike.
//
//   unit roundoff u: bf16 2^-8, fp16 2^-11
//
// A result that is stored in the type differs by at most u of itself (about 0.4 u over many, by
// norm); one of operands that were rounded once more by about as much again. Both ways of a
// product, by pairs and by converting, agree to fp32's own rounding.
#include <gtest/gtest.h>

#include "model/ops/cpu_ops.h"
#include "tests/model/oracle.h"

namespace contrail::model {
namespace {

struct Case {
  const char* isa;
  at::ScalarType type;
};

std::unique_ptr<CpuOpTable> OpsOf(std::string isa) {
  const auto* mixed = kernels::NamedMixed(isa.c_str());
  if (isa == "avx512bf16") isa = "avx512";
  const auto* f = kernels::Named<float>(isa.c_str());
  const auto* d = kernels::Named<double>(isa.c_str());
  if (f == nullptr || d == nullptr || mixed == nullptr) return nullptr;
  return std::make_unique<CpuOpTable>(*f, *d, *mixed);
}

class Ops16 : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    ops_ = OpsOf(GetParam().isa);
    if (ops_ == nullptr) GTEST_SKIP() << "this processor lacks " << GetParam().isa;
  }

  at::ScalarType type() const { return GetParam().type; }
  double unit() const { return type() == at::kHalf ? 0x1p-11 : 0x1p-8; }

  at::Tensor Narrow(at::IntArrayRef shape) { return RandomTensor(shape, ++seed_).to(type()); }
  at::Tensor Wide(at::IntArrayRef shape) { return RandomTensor(shape, ++seed_).to(at::kFloat); }
  at::Tensor Empty(at::IntArrayRef shape, at::ScalarType of) const {
    return at::full(shape, std::numeric_limits<double>::quiet_NaN(), of);
  }
  at::Tensor EmptyNarrow(at::IntArrayRef shape) const { return Empty(shape, type()); }
  at::Tensor EmptyWide(at::IntArrayRef shape) const { return Empty(shape, at::kFloat); }
  at::Tensor Exact(const at::Tensor& t) const { return t.to(at::kDouble); }
  at::Tensor Leaf(const at::Tensor& t) const { return Exact(t).clone().requires_grad_(true); }

  // Relative to the norm: what is stored in fp32 from exact products, in the type, and from
  // operands rounded once more.
  void ExpectExact(const at::Tensor& a, const at::Tensor& b, const char* what) const {
    EXPECT_LT(Distance(a, b), 2e-6) << what;
  }
  void ExpectRounded(const at::Tensor& a, const at::Tensor& b, const char* what) const {
    EXPECT_LT(Distance(a, b), unit() + 2e-6) << what;
  }
  void ExpectTwiceRounded(const at::Tensor& a, const at::Tensor& b, const char* what) const {
    EXPECT_LT(Distance(a, b), 1.5 * unit() + 2e-6) << what;
  }

  std::unique_ptr<CpuOpTable> ops_;
  uint64_t seed_ = 500;
};

// Odd in every dimension, single, whole tiles, and beyond what is summed at a time (1024 pairs).
const std::vector<std::array<int64_t, 3>> kProducts = {
    {1, 1, 1},     {6, 64, 64},    {7, 13, 5},     {33, 300, 71}, {50, 128, 130},
    {19, 515, 33}, {130, 20, 600}, {40, 2500, 70}, {5, 4097, 66}};

TEST_P(Ops16, Linear) {
  for (const auto& [m, k, n] : kProducts) {
    const at::Tensor x = Narrow({m, k}), w = Narrow({n, k}), bias = Wide({n}),
                     residual = Wide({m, n}), d_out = Narrow({m, n}), d_wide = Wide({m, n});
    const at::Tensor product = at::linear(Exact(x), Exact(w), Exact(bias));
    at::Tensor out = EmptyNarrow({m, n}), stream = EmptyWide({m, n});
    ops_->Linear(AsView(x), AsView(w), AsView(bias), {}, AsView(out));
    ExpectRounded(out, product, "16-bit out");
    EXPECT_LT(Distance(out, product.to(type())), unit() / 8) << "fp32 sums, rounded once";
    ops_->Linear(AsView(x), AsView(w), AsView(bias), AsView(residual), AsView(stream));
    ExpectExact(stream, product + residual, "fp32 out with residual");
    at::Tensor in_place = residual.clone();
    ops_->Linear(AsView(x), AsView(w), AsView(bias), AsView(in_place), AsView(in_place));
    EXPECT_TRUE(in_place.equal(stream));

    for (const at::Tensor& d : {d_out, d_wide}) {
      const bool wide = d.scalar_type() == at::kFloat;
      const at::Tensor d_rounded = Exact(d.to(type()));
      at::Tensor d_x = EmptyNarrow({m, k}), d_w = Wide({n, k}), d_b = Wide({n});
      const at::Tensor before_w = d_w.clone(), before_b = d_b.clone();
      ops_->LinearBackwardInput(AsView(d), AsView(w), AsView(d_x));
      ops_->LinearBackwardWeight(AsView(x), AsView(d), AsView(d_w), AsView(d_b));
      const at::Tensor exact_x = at::matmul(Exact(d), Exact(w));
      const at::Tensor exact_w = at::matmul(Exact(d).t(), Exact(x));
      if (wide) {
        ExpectTwiceRounded(d_x, exact_x, "d_x of fp32");
        ExpectRounded(Exact(d_w) - Exact(before_w), exact_w, "d_w of fp32");
      } else {
        ExpectRounded(d_x, exact_x, "d_x");
      }
      ExpectExact(d_w, Exact(before_w) + at::matmul(d_rounded.t(), Exact(x)), "d_w");
      ExpectExact(d_b, Exact(before_b) + Exact(d).sum(0), "d_bias");
    }
  }
}

TEST_P(Ops16, LinearActivation) {
  for (const Activation f : {Activation::kQuickGelu, Activation::kGelu}) {
    for (const auto& [m, k, n] : kProducts) {
      const at::Tensor x = (RandomTensor({m, k}, ++seed_) / std::sqrt(k)).to(type());
      const at::Tensor w = Narrow({n, k}), bias = Wide({n});
      at::Tensor pre = EmptyNarrow({m, n}), act = EmptyNarrow({m, n});
      ops_->LinearActivation(AsView(x), AsView(w), AsView(bias), f, AsView(pre), AsView(act));
      at::Tensor again = at::empty_like(act);
      ops_->Activate(AsView(pre), f, AsView(again));
      EXPECT_TRUE(again.equal(act));
      const at::Tensor exact = at::linear(Exact(x), Exact(w), Exact(bias));
      const auto activate = [&](const at::Tensor& t) {
        return f == Activation::kGelu ? at::gelu(t) : t * at::sigmoid(1.702 * t);
      };
      ExpectRounded(pre, exact, "pre");
      ExpectRounded(act, activate(Exact(pre)), "act");  // of what was rounded

      const at::Tensor w2 = Narrow({9, n}), d_out = Narrow({m, 9}), leaf = Leaf(pre);
      (at::matmul(activate(leaf), Exact(w2).t()) * Exact(d_out)).sum().backward();
      at::Tensor d_pre = EmptyNarrow({m, n});
      ops_->LinearActivationBackwardInput(AsView(d_out), AsView(w2), f, AsView(pre), AsView(d_pre));
      ExpectRounded(d_pre, leaf.grad(), "d_pre");
    }
  }
}

TEST_P(Ops16, Project) {
  for (const auto& [m, k, n] : kProducts) {
    const at::Tensor x = Narrow({m, k}), w = Narrow({k, n}), d_out = Wide({m, n});
    at::Tensor out = EmptyWide({m, n}), d_x = EmptyNarrow({m, k}), d_w = Wide({k, n});
    const at::Tensor before = d_w.clone(), d = Exact(d_out.to(type()));
    ops_->Project(AsView(x), AsView(w), AsView(out));
    ops_->ProjectBackward(AsView(x), AsView(w), AsView(d_out), AsView(d_x), AsView(d_w));
    ExpectExact(out, at::matmul(Exact(x), Exact(w)), "out");
    ExpectRounded(d_x, at::matmul(d, Exact(w).t()), "d_x");
    ExpectExact(d_w, Exact(before) + at::matmul(Exact(x).t(), d), "d_w");
  }
}

// From the fp32 stream into a product, and back.
TEST_P(Ops16, LayerNorm) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 3}, {70, 128}, {131, 77}, {5, 1000}}) {
    const at::Tensor x = (RandomTensor({m, n}, ++seed_) * 3 + 5).to(at::kFloat);
    const at::Tensor gain = Wide({n}), bias = Wide({n}), d_y = Narrow({m, n});
    const at::Tensor lx = Leaf(x), lg = Leaf(gain), lb = Leaf(bias);
    const at::Tensor expected = at::layer_norm(lx, {n}, lg, lb, 1e-5);
    (expected * Exact(d_y)).sum().backward();
    at::Tensor y = EmptyNarrow({m, n}), stats = EmptyWide({m, 2});
    ops_->LayerNorm(AsView(x), AsView(gain), AsView(bias), AsView(y), AsView(stats));
    ExpectRounded(y, expected, "y");
    at::Tensor d_x = Wide({m, n}), d_gain = Wide({n}), d_bias = Wide({n});
    const at::Tensor before = d_x.clone(), before_gain = d_gain.clone(),
                     before_bias = d_bias.clone();
    ops_->LayerNormBackward(AsView(x), AsView(stats), AsView(gain), AsView(d_y), /*add=*/true,
                            AsView(d_x), AsView(d_gain), AsView(d_bias));
    ExpectExact(d_x, Exact(before) + lx.grad(), "d_x");
    ExpectExact(d_gain, Exact(before_gain) + lg.grad(), "d_gain");
    ExpectExact(d_bias, Exact(before_bias) + lb.grad(), "d_bias");
  }
}

// Softmax and sums are the fp32 kernel's; in and out are rounded.
TEST_P(Ops16, AttentionIsFp32sOnRoundedNumbers) {
  constexpr int64_t kHeads = 3;
  const std::vector<int32_t> offsets = {0, 1, 18, 35, 112, 112, 177, 180, 965};  // 785 at last
  const int64_t tokens = offsets.back(), count = static_cast<int64_t>(offsets.size()) - 1;
  for (const int64_t dim : {64, 12}) {
    for (const bool causal : {false, true}) {
      for (const bool single : {false, true}) {
        const int64_t w = kHeads * dim, queries = single ? count : tokens;
        const at::Tensor qkv = Narrow({tokens, 3 * w}), q_rows = Narrow({count, w});
        const at::Tensor d_out = Narrow({queries, w});
        AttentionShape shape{{count, offsets.data(), 0, 785}, kHeads, causal, single};
        const auto run = [&](at::ScalarType of, std::array<at::Tensor, 4>& results) {
          const at::Tensor all_t = qkv.to(of), rows = q_rows.to(of), d = d_out.to(of);
          const View all = AsView(all_t);
          const View q = single ? AsView(rows) : all.Cols(0, w);
          at::Tensor out = at::zeros({queries, w}, of), lse = at::zeros({queries, kHeads});
          at::Tensor d_qkv = at::zeros({tokens, 3 * w}, of), d_q = at::zeros({count, w}, of);
          ops_->Attention(shape, q, all.Cols(w, w), all.Cols(2 * w, w), AsView(out), AsView(lse));
          const at::Tensor same_out = results[0].defined() ? results[0].to(of) : out;
          const View d_all = AsView(d_qkv);
          ops_->AttentionBackward(shape, q, all.Cols(w, w), all.Cols(2 * w, w), AsView(same_out),
                                  AsView(lse), AsView(d), single ? AsView(d_q) : d_all.Cols(0, w),
                                  d_all.Cols(w, w), d_all.Cols(2 * w, w));
          results = {out, lse, d_qkv, d_q};
        };
        std::array<at::Tensor, 4> narrow, wide;
        run(type(), narrow);
        wide[0] = narrow[0];  // the backward of the same stored output
        run(at::kFloat, wide);
        ExpectRounded(narrow[0], wide[0], "out");
        EXPECT_TRUE(narrow[1].equal(wide[1])) << "lse";
        ExpectRounded(narrow[2], wide[2], "d_qkv");
        if (single) ExpectRounded(narrow[3], wide[3], "d_q");
      }
    }
  }
}

TEST_P(Ops16, AttentionKeepsWhatIsNotFinite) {
  for (const bool infinite : {false, true}) {
    at::Tensor qkv = Narrow({53, 3 * 12}).abs();
    qkv[50][3] = infinite ? std::numeric_limits<double>::infinity() : std::nan("");
    const View all = AsView(qkv);
    at::Tensor out = at::zeros({53, 12}, type()), lse = at::zeros({53, 1});
    ops_->Attention({{1, nullptr, 53, 53}, 1, false, false}, all.Cols(0, 12), all.Cols(12, 12),
                    all.Cols(24, 12), AsView(out), AsView(lse));
    EXPECT_EQ(at::isnan(out.to(at::kFloat)).any(1).sum().item<int64_t>(), 1);
  }
}

TEST_P(Ops16, PatchifyIsTheRoundedPixel) {
  const at::Tensor images = RandomImages(3, 12, 5);
  at::Tensor out = EmptyNarrow({3 * 9, 3 * 16}), wide = EmptyWide({3 * 9, 3 * 16});
  ops_->Patchify(images.const_data_ptr<uint8_t>(), 3, 12, 4, NormalisationNamed("clip"),
                 AsView(out));
  ops_->Patchify(images.const_data_ptr<uint8_t>(), 3, 12, 4, NormalisationNamed("clip"),
                 AsView(wide));
  EXPECT_TRUE(out.equal(wide.to(type())));
}

TEST_P(Ops16, AssembleTokens) {
  const at::Tensor patches = Narrow({3 * 4, 21}), cls = Wide({21}), pos = Wide({5, 21});
  const at::Tensor d_out = Wide({15, 21});
  at::Tensor out = EmptyWide({15, 21}), d_patches = EmptyNarrow({12, 21});
  at::Tensor d_cls = at::zeros({21}), d_pos = at::zeros({5, 21});
  ops_->AssembleTokens(AsView(patches), AsView(cls), AsView(pos), AsView(out));
  ops_->AssembleTokensBackward(AsView(d_out), AsView(d_patches), AsView(d_cls), AsView(d_pos));
  const at::Tensor expected =
      at::cat({cls.expand({3, 1, 21}), patches.to(at::kFloat).view({3, 4, 21})}, 1) + pos;
  EXPECT_TRUE(out.equal(expected.reshape({15, 21})));
  const at::Tensor d = d_out.view({3, 5, 21});
  EXPECT_TRUE(d_patches.equal(d.slice(1, 1).reshape({12, 21}).to(type())));
  ExpectExact(d_cls, Exact(d).select(1, 0).sum(0), "d_cls");
  ExpectExact(d_pos, Exact(d).sum(0), "d_pos");
}

TEST_P(Ops16, GatherScatterCopyZero) {
  const std::vector<int32_t> offsets = {0, 2, 3, 7};
  const Sequences ragged{3, offsets.data(), 0, 4};
  const at::Tensor x = Narrow({7, 19}), rows = Narrow({3, 19}), wide_rows = Wide({3, 19});
  const at::Tensor index = at::tensor(std::vector<int64_t>{1, 2, 6}, at::kLong);
  at::Tensor out = EmptyNarrow({3, 19}), sum = x.clone(), wide = Wide({7, 19});
  const at::Tensor before = wide.clone();
  ops_->GatherRows(AsView(x), ragged, OpTable::Pick::kLast, AsView(out));
  EXPECT_TRUE(out.equal(x.index_select(0, index)));
  ops_->ScatterAddRows(AsView(rows), ragged, OpTable::Pick::kLast, AsView(sum));
  EXPECT_TRUE(sum.equal(x.to(at::kFloat).index_add(0, index, rows.to(at::kFloat)).to(type())));
  ops_->ScatterAddRows(AsView(wide_rows), ragged, OpTable::Pick::kLast, AsView(wide));
  EXPECT_TRUE(wide.equal(before.index_add(0, index, wide_rows)));
  at::Tensor copy = EmptyNarrow({7, 19});
  ops_->Copy(AsView(x), AsView(copy));
  EXPECT_TRUE(copy.equal(x));
  ops_->Zero(AsView(copy));
  EXPECT_EQ(copy.abs().sum().item<float>(), 0);
}

// Convolutions and what goes with them are the fp32 kernels on widened numbers: one fp32 run on the
// same rounded numbers is what they are held against. Channels in one block of sums and in several.
TEST_P(Ops16, Convolutions) {
  const ImageShape shape{4, 9, 7};
  for (const auto& [kernel, in, outs, stride] :
       {std::array<int64_t, 4>{3, 3, 8, 2}, {3, 70, 66, 1}, {1, 300, 40, 1}, {1, 16, 130, 1}}) {
    const ImageShape to{4, (9 + stride - 1) / stride, (7 + stride - 1) / stride};
    const at::Tensor x = Narrow({shape.rows(), in}), w = Narrow({outs, in * kernel * kernel});
    const at::Tensor d_out = Narrow({to.rows(), outs}), before = Narrow({shape.rows(), in});
    struct Result {
      at::Tensor out, d_x, d_sum, d_w;
    };
    const auto run = [&, k = kernel, c = in, n = outs, s = stride](at::ScalarType of) {
      const at::Tensor xt = x.to(of), wt = w.to(of), dt = d_out.to(of);
      Result r{Empty({to.rows(), n}, of), Empty({shape.rows(), c}, of), before.to(of).clone(),
               at::zeros({n, c * k * k})};
      ops_->Convolve({AsView(xt), shape}, AsView(wt), s, AsView(r.out), nullptr);
      ops_->ConvolveBackwardWeight({AsView(xt), shape}, s, AsView(dt), AsView(r.d_w));
      if (s == 1) {
        ops_->ConvolveBackwardInput(AsView(dt), AsView(wt), shape, false, AsView(r.d_x), nullptr);
        ops_->ConvolveBackwardInput(AsView(dt), AsView(wt), shape, true, AsView(r.d_sum), nullptr);
      }
      return r;
    };
    const Result narrow = run(type()), wide = run(at::kFloat);
    EXPECT_TRUE(narrow.out.equal(wide.out.to(type()))) << "fp32 sums, rounded once";
    ExpectExact(narrow.d_w, wide.d_w, "d_w");
    if (stride > 1) continue;
    EXPECT_TRUE(narrow.d_x.equal(wide.d_x.to(type())));
    ExpectRounded(narrow.d_sum, wide.d_sum, "added");
  }
}

TEST_P(Ops16, BatchNormsStateIsOfTheRoundedNumbers) {
  constexpr int64_t kGroups = 2, kChannels = 24;
  const ImageShape shape{4, 6, 5};
  const int64_t rows = shape.rows();
  const at::Tensor in = Narrow({rows, 16}), w = Narrow({kChannels, 16});
  const at::Tensor gain = Wide({kChannels}), bias = Wide({kChannels});
  const at::Tensor residual = Narrow({rows, kChannels}), d_y = Narrow({rows, kChannels});
  at::Tensor x = EmptyNarrow({rows, kChannels});
  at::Tensor state = at::zeros({BatchNorm::kStateRows * kGroups, kChannels});
  at::Tensor d_gain = at::zeros({kChannels}), d_bias = at::zeros({kChannels});
  const BatchNorm norm{AsView(x),    shape,        kGroups,        AsView(state),
                       AsView(gain), AsView(bias), AsView(d_gain), AsView(d_bias)};
  ops_->Convolve({AsView(in), shape}, AsView(w), 1, AsView(x), &norm);
  const at::Tensor leaf = Leaf(x), lg = Leaf(gain), lb = Leaf(bias);
  const at::Tensor grouped = leaf.view({kGroups, rows / kGroups, kChannels});
  const at::Tensor mean = grouped.mean(1, true);
  const at::Tensor variance = (grouped - mean).square().mean(1, true);
  const at::Tensor normed = (grouped - mean) / (variance + 1e-5).sqrt();
  const at::Tensor y = at::relu(normed.view({rows, kChannels}) * lg + lb + Exact(residual));
  const at::Tensor rows_of = state.view({kGroups, BatchNorm::kStateRows, kChannels});
  ExpectExact(rows_of.select(1, 0), mean.squeeze(1), "mean");
  ExpectExact(rows_of.select(1, 2), variance.squeeze(1), "variance");

  at::Tensor ours = EmptyNarrow({rows, kChannels});
  ops_->BatchNormAdd(norm, AsView(residual), nullptr, AsView(ours));
  ExpectRounded(ours, y, "y");
  // Through the output as it is stored: where that is 0, nothing flows.
  const at::Tensor gate = Exact(ours).gt(0).to(at::kDouble);
  ((normed.view({rows, kChannels}) * lg + lb) * Exact(d_y) * gate).sum().backward();
  at::Tensor d = d_y.clone(), d_x = EmptyNarrow({rows, kChannels});
  ops_->BatchNormThrough(AsView(d), {&norm, Through::Relu::kOutput, AsView(ours)});
  ops_->BatchNormBackward(norm, AsView(d), AsView(d_x));
  EXPECT_TRUE(d.equal((d_y.to(at::kFloat) * gate.to(at::kFloat)).to(type())));
  ExpectRounded(d_x, leaf.grad(), "d_x");
  ExpectExact(d_gain, lg.grad(), "d_gain");
  ExpectExact(d_bias, lb.grad(), "d_bias");
}

TEST_P(Ops16, Pools) {
  const ImageShape shape{2, 5, 6};
  const at::Tensor x = Narrow({shape.rows(), 21}), pos = Wide({31, 21}), u = Narrow({2, 3 * 21});
  const at::Tensor d_small = Narrow({shape.Halved().rows(), 21}), d_z = Narrow({2, 3 * 21});
  const auto run = [&](at::ScalarType of) {
    const at::Tensor xt = x.to(of), dt = d_small.to(of), ut = u.to(of), dz = d_z.to(of);
    at::Tensor pooled = Empty({shape.Halved().rows(), 21}, of), d_x = Empty({shape.rows(), 21}, of);
    ops_->AveragePool({AsView(xt), shape}, AsView(pooled));
    ops_->AveragePoolBackward(AsView(dt), shape, AsView(d_x), nullptr);
    at::Tensor tokens = Empty({2 * 31, 21}, of), a = EmptyWide({2, 3 * 31}), z = Empty({2, 63}, of);
    ops_->PoolTokens(AsView(xt), 2, AsView(pos), AsView(tokens));
    const at::Tensor same = tokens.to(type()).to(of);  // both runs go on from the rounded ones
    ops_->FoldedAttention(AsView(same), AsView(ut), 3, 0.2, AsView(a), AsView(z));
    at::Tensor d_tokens = EmptyWide({2 * 31, 21}), d_u = Empty({2, 63}, of);
    ops_->FoldedAttentionBackward(AsView(same), AsView(ut), 3, 0.2, AsView(a), AsView(dz),
                                  AsView(d_tokens), AsView(d_u));
    at::Tensor d_in = Empty({shape.rows(), 21}, of), d_pos = at::zeros({31, 21});
    const at::Tensor d_same = d_tokens.to(type()).to(at::kFloat);
    ops_->PoolTokensBackward(AsView(d_same), 2, AsView(d_in), AsView(d_pos));
    return std::vector<at::Tensor>{pooled, d_x, tokens, a, z, d_tokens, d_u, d_in, d_pos};
  };
  const auto narrow = run(type()), wide = run(at::kFloat);
  const char* names[] = {"pooled", "d_x", "tokens", "a", "z", "d_tokens", "d_u", "d_in", "d_pos"};
  for (const size_t i : {0, 1, 2}) {
    EXPECT_TRUE(narrow[i].equal(wide[i].to(type()))) << names[i];
  }
  ExpectExact(narrow[3], wide[3], names[3]);
  // The softmax and its gradient are rounded on their way into a product.
  for (const size_t i : {4, 5, 6, 7, 8}) ExpectTwiceRounded(narrow[i], wide[i], names[i]);
  at::Tensor sum = x.clone();
  ops_->Add(AsView(x), AsView(sum));
  EXPECT_TRUE(sum.equal((x.to(at::kFloat) * 2).to(type())));
}

// Every number of the type there and back, and rounding to nearest even, ties and overflow
// included.
TEST_P(Ops16, ConversionsAreAtens) {
  const auto* table = kernels::NamedMixed(GetParam().isa);
  const kernels::Format format = FormatOf(type());
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  const at::Tensor numbers = at::from_blob(all.data(), {65536}, type());
  at::Tensor wide = at::empty({65536});
  table->widen(format, 65536, all.data(), wide.data_ptr<float>());
  const at::Tensor exact = numbers.to(at::kFloat);
  EXPECT_TRUE(
      wide.eq(exact).logical_or(wide.isnan().logical_and(exact.isnan())).all().item<bool>());

  std::vector<float> values;
  for (uint32_t high = 0; high < 65536; ++high) {
    for (const uint32_t low : {0u, 0x7fffu, 0x8000u, 0x8001u, 0x0fffu, 0x1000u, 0x1001u}) {
      const uint32_t bits = high << 16 | low;
      values.push_back(__builtin_bit_cast(float, bits));
    }
  }
  const auto n = static_cast<int64_t>(values.size());
  const at::Tensor expected = at::from_blob(values.data(), {n}, at::kFloat).to(type());
  at::Tensor narrow = at::empty({n}, type());
  table->narrow(format, n, values.data(), static_cast<uint16_t*>(narrow.data_ptr()));
  EXPECT_TRUE(narrow.eq(expected)
                  .logical_or(narrow.isnan().logical_and(expected.isnan()))
                  .all()
                  .item<bool>());
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.isa) + (info.param.type == at::kHalf ? "_fp16" : "_bf16");
}
INSTANTIATE_TEST_SUITE_P(Cpu, Ops16,
                         testing::Values(Case{"avx512bf16", at::kBFloat16},
                                         Case{"avx512", at::kBFloat16}, Case{"avx512", at::kHalf},
                                         Case{"avx2", at::kBFloat16}, Case{"avx2", at::kHalf},
                                         Case{"baseline", at::kBFloat16},
                                         Case{"baseline", at::kHalf}),
                         CaseName);

// The processor's own products and converting ones are one function: only the order of sums
// differs.
TEST(Mixed, NativeAndConvertingProductsAgree) {
  const auto native = OpsOf("avx512bf16"), converting = OpsOf("avx512");
  if (native == nullptr || converting == nullptr) GTEST_SKIP() << "no AVX512_BF16 here";
  for (const auto& [m, k, n] : kProducts) {
    const at::Tensor x = RandomTensor({m, k}, 1).to(at::kBFloat16);
    const at::Tensor w = RandomTensor({n, k}, 2).to(at::kBFloat16);
    const at::Tensor d = RandomTensor({m, n}, 3).to(at::kFloat);
    at::Tensor out[2], d_w[2];
    for (const int i : {0, 1}) {
      const CpuOpTable& ops = i == 0 ? *native : *converting;
      out[i] = at::zeros({m, n});
      d_w[i] = at::zeros({n, k});
      ops.Linear(AsView(x), AsView(w), {}, {}, AsView(out[i]));
      ops.LinearBackwardWeight(AsView(x), AsView(d), AsView(d_w[i]), {});
    }
    EXPECT_LT(Distance(out[0], out[1]), 1e-6);
    EXPECT_LT(Distance(d_w[0], d_w[1]), 1e-6);
  }
}

TEST(Mixed, ProductsDoNotDependOnThreads) {
  const int before = at::get_num_threads();
  for (const char* isa : {"avx512bf16", "avx512"}) {
    const auto ops = OpsOf(isa);
    if (ops == nullptr) continue;
    const at::Tensor x = RandomTensor({301, 1300}, 1).to(at::kBFloat16);
    const at::Tensor w = RandomTensor({517, 1300}, 2).to(at::kBFloat16);
    at::Tensor first, first_w;
    for (const int threads : {1, 2, 3, 5}) {
      at::set_num_threads(threads);
      at::Tensor out = at::empty({301, 517}, at::kBFloat16), d_w = at::zeros({517, 1300});
      ops->Linear(AsView(x), AsView(w), {}, {}, AsView(out));
      ops->LinearBackwardWeight(AsView(x), AsView(out), AsView(d_w), {});
      if (threads == 1) {
        first = out;
        first_w = d_w;
      }
      EXPECT_TRUE(out.equal(first));
      EXPECT_TRUE(d_w.equal(first_w));
    }
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace contrail::model
