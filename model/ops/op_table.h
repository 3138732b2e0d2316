#pragma once
// The op table: everything a tower computes, as forward and backward functions. Towers are written
// once over it; a device is one implementation of it.
//
// Conventions
//   * Views are [rows, cols] matrices of one floating type: fp32, or fp64 on the CPU for proofs.
//   * In 16 bits (bf16 or fp16) the type belongs to each view. Matrix weights w and whatever leaves
//     one product for another (x, y, pre, act, q, k, v and their gradients) have it. Gains, biases,
//     embeddings, statistics, lse, norms, features and all d_w, d_bias, ... of parameters are fp32.
//     The residual stream may be either: Linear's residual and out, LayerNorm's x, and gradients
//     d_out that enter a product, which rounds them. Every sum is fp32's.
//   * Outputs are the caller's memory. "=" overwrites, "+=" accumulates (every parameter gradient).
//   * An empty view for an optional argument leaves that part out.
//   * No op allocates tensors, keeps state between calls or reads the clock.
//   * Outputs do not depend on the number of threads, bit for bit: every sum has one order.
//
// Legend: M rows, K inputs, N outputs, T tokens, b sequences, w width, h heads, d = w / h.

#include "model/normalisation.h"
#include "model/ops/view.h"

namespace contrail::model {

enum class Activation { kQuickGelu, kGelu };  // x sigmoid(1.702 x); x Phi(x), the exact erf form

// Where one token sequence ends and the next begins. Dense: sequence i is [i L, (i + 1) L).
struct Sequences {
  int64_t count = 0;
  const int32_t* offsets = nullptr;  // [count + 1], where they differ in length
  int64_t length = 0;                // where they do not
  int64_t longest = 0;

  int64_t Begin(int64_t i) const { return offsets != nullptr ? offsets[i] : i * length; }
};

struct AttentionShape {
  Sequences sequences;
  int64_t heads = 1;
  bool causal = false;
  // One query a sequence (row i of q is for sequence i), which sees every key of it: all that is
  // needed of a last block whose other rows nobody reads.
  bool single_query = false;
};

// A stack of images as a matrix: row (i H + y) W + x is one position, its columns the channels
// (channels-last).
struct ImageShape {
  int64_t count = 0;
  int64_t height = 0;
  int64_t width = 0;

  int64_t rows() const { return count * height * width; }
  ImageShape Halved() const { return {count, height / 2, width / 2}; }
};

// Ioffe & Szegedy 2015 over `groups` equal runs of images, each with its own statistics, eps 1e-5:
// (x - mean) rstd gain + bias. Its output is written nowhere: who reads it forms it.
struct BatchNorm {
  static constexpr int64_t kStateRows = 8;  // a group

  View x;  // [M, C] what is normed
  ImageShape shape;
  int64_t groups = 1;
  // [8 groups, C], a group's rows: mean, rstd, variance (divided by n), scale = rstd gain, shift =
  // bias - mean scale; and of the backward: d_x = a d - b - c (x - mean).
  View state;
  View gain, bias, d_gain, d_bias;
};

// What a convolution or a pool reads: x, or, where `norm` is given, max(0, norm) of x.
struct ConvInput {
  View x;
  ImageShape shape;
  const BatchNorm* norm = nullptr;
};

// What a gradient passes: the ReLU behind a norm and then the norm. kOwn: the ReLU's output is
// max(0, norm); kOutput: it is y (something was added to the norm).
struct Through {
  enum class Relu { kNone, kOwn, kOutput };
  const BatchNorm* norm = nullptr;
  Relu relu = Relu::kNone;
  View y;
};

class OpTable {
 public:
  virtual ~OpTable() = default;

  // out[M, N] = x[M, K] w[N, K]^T + bias[N] + residual[M, N]. `out` may be `residual`.
  virtual void Linear(View x, View w, View bias, View residual, View out) const = 0;
  // pre[M, N] = x w^T + bias; act[M, N] = f(pre).
  virtual void LinearActivation(View x, View w, View bias, Activation f, View pre,
                                View act) const = 0;
  // act[M, N] = f(pre): LinearActivation's again, bit for bit.
  virtual void Activate(View pre, Activation f, View act) const = 0;
  // d_x[M, K] = d_out[M, N] w[N, K].
  virtual void LinearBackwardInput(View d_out, View w, View d_x) const = 0;
  // d_pre[M, K] = (d_out w) * f'(pre[M, K]): through a linear layer and the activation before it.
  virtual void LinearActivationBackwardInput(View d_out, View w, Activation f, View pre,
                                             View d_pre) const = 0;
  // d_w[N, K] += d_out^T x; d_bias[N] += column sums of d_out.
  virtual void LinearBackwardWeight(View x, View d_out, View d_w, View d_bias) const = 0;

  // out[M, N] = x[M, K] w[K, N], a weight stored the other way round (CLIP's projections).
  virtual void Project(View x, View w, View out) const = 0;
  // out[M, N] += x[M, K] w[K, N].
  virtual void AddProduct(View x, View w, View out) const = 0;
  // d_x[M, K] = d_out w^T; d_w[K, N] += x^T d_out.
  virtual void ProjectBackward(View x, View w, View d_out, View d_x, View d_w) const = 0;

  // y = (x - mean) rstd * gain + bias by rows, eps 1e-5; stats[M, 2] = (mean, rstd).
  virtual void LayerNorm(View x, View gain, View bias, View y, View stats) const = 0;
  // d_x = the gradient, or d_x += where `add`; d_gain, d_bias +=. `d_x` may be `d_y` if not `add`.
  virtual void LayerNormBackward(View x, View stats, View gain, View d_y, bool add, View d_x,
                                 View d_gain, View d_bias) const = 0;

  // out = softmax(q k^T / sqrt(d)) v in each sequence and head. q, k, v: [T, w], usually columns
  // of one packed [T, 3 w]; lse[rows of q, h] = log of the softmax's denominator, for the backward.
  virtual void Attention(const AttentionShape& shape, View q, View k, View v, View out,
                         View lse) const = 0;
  // d_q, d_k, d_v = from q, k, v, what the forward left in out and lse, and d_out.
  virtual void AttentionBackward(const AttentionShape& shape, View q, View k, View v, View out,
                                 View lse, View d_out, View d_q, View d_k, View d_v) const = 0;

  // uint8 RGB [b, 3, R, R] -> out[b (R/p)^2, 3 p^2], (value / 255 - mean) / std by channel;
  // columns in the order of a convolution's weight (channel, row, column).
  virtual void Patchify(const uint8_t* images, int64_t count, int64_t resolution, int64_t patch,
                        const Normalisation& pixels, View out) const = 0;
  // out[b (P + 1), w]: row 0 of each sequence cls[w] + pos[0], row 1 + j patches[b P, w] +
  // pos[1+j].
  virtual void AssembleTokens(View patches, View cls, View pos, View out) const = 0;
  // d_patches = ; d_cls, d_pos +=.
  virtual void AssembleTokensBackward(View d_out, View d_patches, View d_cls, View d_pos) const = 0;
  // out[T, w] = table[ids[t]] + pos[t - begin of its sequence].
  virtual void Embed(const int32_t* ids, const Sequences& sequences, View table, View pos,
                     View out) const = 0;
  // d_table, d_pos +=.
  virtual void EmbedBackward(const int32_t* ids, const Sequences& sequences, View d_out,
                             View d_table, View d_pos) const = 0;

  // Which row of a sequence its tower reads in the end: its first (class token) or its last (EOT).
  enum class Pick { kFirst, kLast };
  // out[b, w] = the picked row of each sequence of x[T, w].
  virtual void GatherRows(View x, const Sequences& sequences, Pick pick, View out) const = 0;
  // The picked row of each sequence of d_x[T, w] += rows[b, w].
  virtual void ScatterAddRows(View rows, const Sequences& sequences, Pick pick, View d_x) const = 0;

  // y = x / |x| by rows; norms[M] = |x|.
  virtual void Normalize(View x, View y, View norms) const = 0;
  // d_x = (d_y - y <y, d_y>) / |x|.
  virtual void NormalizeBackward(View y, View norms, View d_y, View d_x) const = 0;

  // Convolution with a border of k / 2: out [b (H/s)^2, N] = in [b H W, C] * w [N, C k k], k 1 or
  // 3 by the shape of w, stride s rounded up. Where `norm` is given, out is what it norms: its
  // statistics are taken in the same pass.
  virtual void Convolve(const ConvInput& in, View w, int64_t stride, View out,
                        const BatchNorm* norm) const = 0;
  // d_x [b H W, C] = (or += where `add`) the gradient of a convolution of stride 1; then, where
  // given, through a norm.
  virtual void ConvolveBackwardInput(View d_out, View w, const ImageShape& in, bool add, View d_x,
                                     const Through* through) const = 0;
  // d_w +=.
  virtual void ConvolveBackwardWeight(const ConvInput& in, int64_t stride, View d_out,
                                      View d_w) const = 0;

  // The state of a norm with given statistics [1, C] (one group).
  virtual void BatchNormFixed(const BatchNorm& norm, View mean, View variance) const = 0;
  // y = max(0, norm + residual), where `residual_norm` is given that of its norm. `y` may be
  // `residual`.
  virtual void BatchNormAdd(const BatchNorm& norm, View residual, const BatchNorm* residual_norm,
                            View y) const = 0;
  // d [M, C], the gradient of an output, becomes that of the norm's output; d_gain, d_bias +=.
  virtual void BatchNormThrough(View d, const Through& through) const = 0;
  // After that: d_x = the gradient of what is normed. d_x may be d.
  virtual void BatchNormBackward(const BatchNorm& norm, View d, View d_x) const = 0;
  // sums [2, C] += over groups (mean, variance n / (n - 1)), n the rows in a group.
  virtual void CollectStatistics(const BatchNorm& norm, View sums) const = 0;
  // PyTorch's running statistics: mean, variance += momentum (sums / groups - itself); sums = 0.
  virtual void FoldStatistics(View sums, int64_t groups, double momentum, View mean,
                              View variance) const = 0;

  // Means of 2 x 2 positions (a last odd row or column is left out): out [b H/2 W/2, C]. Before a
  // convolution that would have had stride 2 (Zhang 2019, "rect-2").
  virtual void AveragePool(const ConvInput& in, View out) const = 0;
  // d_x =; then, where given, through a norm.
  virtual void AveragePoolBackward(View d_out, const ImageShape& in, View d_x,
                                   const Through* through) const = 0;

  // tokens [b (P + 1), C] = ([mean of x; x] of each of b images) + pos [P + 1, C].
  virtual void PoolTokens(View x, int64_t count, View pos, View tokens) const = 0;
  // d_x =; d_pos +=.
  virtual void PoolTokensBackward(View d_tokens, int64_t count, View d_x, View d_pos) const = 0;
  // One query an image and head, folded through the keys: u [b, h C] are the heads' queries in the
  // space of tokens. a [b, h L] = softmax(scale u t); z [b, h C] = a t.
  virtual void FoldedAttention(View tokens, View u, int64_t heads, double scale, View a,
                               View z) const = 0;
  // d_tokens, d_u =.
  virtual void FoldedAttentionBackward(View tokens, View u, int64_t heads, double scale, View a,
                                       View d_z, View d_tokens, View d_u) const = 0;

  virtual void Add(View from, View to) const = 0;  // to += from
  virtual void Copy(View from, View to) const = 0;
  virtual void Zero(View x) const = 0;
};

// ATen's host threads and SIMD kernels for AVX-512, AVX2 or any x86-64, chosen when first called.
const OpTable& CpuOps();

}  // namespace contrail::model
