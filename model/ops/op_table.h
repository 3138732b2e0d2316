#pragma once
// The op table: everything a tower computes, as forward and backward functions. Towers are written
// once over it; a device is one implementation of it.
//
// Conventions
//   * Views are [rows, cols] matrices of one floating type (fp32, or fp64 on the CPU for proofs).
//   * Outputs are the caller's memory. "=" overwrites, "+=" accumulates (every parameter gradient).
//   * An empty view for an optional argument leaves that part out.
//   * No op allocates a tensor, keeps state between calls or reads the clock.
//   * Outputs do not depend on the number of threads, bit for bit: every sum has one order.
//
// Legend: M rows, K inputs, N outputs, T tokens, b sequences, w width, h heads, d = w / h.

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

class OpTable {
 public:
  virtual ~OpTable() = default;

  // out[M, N] = x[M, K] w[N, K]^T + bias[N] + residual[M, N]. `out` may be `residual`.
  virtual void Linear(View x, View w, View bias, View residual, View out) const = 0;
  // pre[M, N] = x w^T + bias; act[M, N] = f(pre).
  virtual void LinearActivation(View x, View w, View bias, Activation f, View pre,
                                View act) const = 0;
  // d_x[M, K] = d_out[M, N] w[N, K].
  virtual void LinearBackwardInput(View d_out, View w, View d_x) const = 0;
  // d_pre[M, K] = (d_out w) * f'(pre[M, K]): through a linear layer and the activation before it.
  virtual void LinearActivationBackwardInput(View d_out, View w, Activation f, View pre,
                                             View d_pre) const = 0;
  // d_w[N, K] += d_out^T x; d_bias[N] += column sums of d_out.
  virtual void LinearBackwardWeight(View x, View d_out, View d_w, View d_bias) const = 0;

  // out[M, N] = x[M, K] w[K, N], a weight stored the other way round (CLIP's projections).
  virtual void Project(View x, View w, View out) const = 0;
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

  // uint8 RGB [b, 3, R, R] -> out[b (R/p)^2, 3 p^2], (value / 255 - mean) / std with CLIP's mean
  // and std a channel; columns in the order of a convolution's weight (channel, row, column).
  virtual void Patchify(const uint8_t* images, int64_t count, int64_t resolution, int64_t patch,
                        View out) const = 0;
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

  virtual void Copy(View from, View to) const = 0;
  virtual void Zero(View x) const = 0;
};

// ATen's host threads and SIMD kernels for AVX-512, AVX2 or any x86-64, chosen when first called.
const OpTable& CpuOps();

}  // namespace contrail::model
