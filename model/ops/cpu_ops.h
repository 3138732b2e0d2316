#pragma once
// The op table on the host: SIMD kernels (kernels/) under ATen's thread pool.

#include "model/ops/kernels/conv_kernels.h"
#include "model/ops/kernels/kernels.h"
#include "model/ops/op_table.h"
#include "model/ops/parallel.h"

namespace contrail::model {

class CpuOpTable final : public OpTable {
 public:
  CpuOpTable()
      : CpuOpTable(kernels::Best<float>(), kernels::Best<double>(), kernels::BestMixed()) {}
  // On one instruction set, for proofs and benchmarks.
  CpuOpTable(const kernels::Table<float>& f, const kernels::Table<double>& d,
             const kernels::MixedTable& mixed)
      : float_(f), double_(d), mixed_(mixed) {}

  void Linear(View x, View w, View bias, View residual, View out) const override;
  void LinearActivation(View x, View w, View bias, Activation f, View pre, View act) const override;
  void Activate(View pre, Activation f, View act) const override;
  void LinearBackwardInput(View d_out, View w, View d_x) const override;
  void LinearActivationBackwardInput(View d_out, View w, Activation f, View pre,
                                     View d_pre) const override;
  void LinearBackwardWeight(View x, View d_out, View d_w, View d_bias) const override;
  void Project(View x, View w, View out) const override;
  void AddProduct(View x, View w, View out) const override;
  void ProjectBackward(View x, View w, View d_out, View d_x, View d_w) const override;

  void LayerNorm(View x, View gain, View bias, View y, View stats) const override;
  void LayerNormBackward(View x, View stats, View gain, View d_y, bool add, View d_x, View d_gain,
                         View d_bias) const override;
  void Attention(const AttentionShape& shape, View q, View k, View v, View out,
                 View lse) const override;
  void AttentionBackward(const AttentionShape& shape, View q, View k, View v, View out, View lse,
                         View d_out, View d_q, View d_k, View d_v) const override;

  void Patchify(const uint8_t* images, int64_t count, int64_t resolution, int64_t patch,
                const Normalisation& pixels, View out) const override;
  void AssembleTokens(View patches, View cls, View pos, View out) const override;
  void AssembleTokensBackward(View d_out, View d_patches, View d_cls, View d_pos) const override;
  void Embed(const int32_t* ids, const Sequences& sequences, View table, View pos,
             View out) const override;
  void EmbedBackward(const int32_t* ids, const Sequences& sequences, View d_out, View d_table,
                     View d_pos) const override;
  void GatherRows(View x, const Sequences& sequences, Pick pick, View out) const override;
  void ScatterAddRows(View rows, const Sequences& sequences, Pick pick, View d_x) const override;
  void Normalize(View x, View y, View norms) const override;
  void NormalizeBackward(View y, View norms, View d_y, View d_x) const override;
  void Convolve(const ConvInput& in, View w, int64_t stride, View out,
                const BatchNorm* norm) const override;
  void ConvolveBackwardInput(View d_out, View w, const ImageShape& in, bool add, View d_x,
                             const Through* through) const override;
  void ConvolveBackwardWeight(const ConvInput& in, int64_t stride, View d_out,
                              View d_w) const override;
  void BatchNormFixed(const BatchNorm& norm, View mean, View variance) const override;
  void BatchNormAdd(const BatchNorm& norm, View residual, const BatchNorm* residual_norm,
                    View y) const override;
  void BatchNormThrough(View d, const Through& through) const override;
  void BatchNormBackward(const BatchNorm& norm, View d, View d_x) const override;
  void CollectStatistics(const BatchNorm& norm, View sums) const override;
  void FoldStatistics(View sums, int64_t groups, double momentum, View mean,
                      View variance) const override;
  void AveragePool(const ConvInput& in, View out) const override;
  void AveragePoolBackward(View d_out, const ImageShape& in, View d_x,
                           const Through* through) const override;
  void PoolTokens(View x, int64_t count, View pos, View tokens) const override;
  void PoolTokensBackward(View d_tokens, int64_t count, View d_x, View d_pos) const override;
  void FoldedAttention(View tokens, View u, int64_t heads, double scale, View a,
                       View z) const override;
  void FoldedAttentionBackward(View tokens, View u, int64_t heads, double scale, View a, View d_z,
                               View d_tokens, View d_u) const override;
  void Add(View from, View to) const override;
  void Copy(View from, View to) const override;
  void Zero(View x) const override;

 private:
  template <typename T>
  const kernels::Table<T>& Kernels() const {
    if constexpr (std::is_same_v<T, float>) {
      return float_;
    } else {
      return double_;
    }
  }

  template <typename T>
  const kernels::ConvTable<T>& ConvKernels() const {
    return kernels::ConvKernels<T>(Kernels<kernels::Compute<T>>().name);
  }

  void RunMixed(const kernels::MixedGemm& g) const;
  void Attention16(const AttentionShape& shape, View q, View k, View v, View out, View lse) const;
  void Attention16Backward(const AttentionShape& shape, View q, View k, View v, View out, View lse,
                           View d_out, View d_q, View d_k, View d_v) const;
  void AddColumnSums(View x, View sums) const;  // sums [1, n] += over the rows of x

  const kernels::Table<float>& float_;
  const kernels::Table<double>& double_;
  const kernels::MixedTable& mixed_;
};

inline bool Is16Bit(at::ScalarType type) { return type == at::kBFloat16 || type == at::kHalf; }

inline kernels::Format FormatOf(at::ScalarType type) {
  return type == at::kBFloat16 ? kernels::Format::kBFloat16
         : type == at::kHalf   ? kernels::Format::kHalf
                               : kernels::Format::kFloat;
}

// A few rows' worth of fp32 on a thread's stack or in its memory: where rows of 16-bit numbers are
// worked on. ToFloat gives the row itself where it is fp32 already; FromFloat takes it back.
class Rows16 {
 public:
  explicit Rows16(const kernels::MixedTable& table) : table_(table) {}
  const float* ToFloat(View v, int64_t row, int64_t column, int64_t count, float* room) const {
    if (!Is16Bit(v.type)) return v.as<float>() + row * v.stride + column;
    table_.widen(FormatOf(v.type), count, v.as<uint16_t>() + row * v.stride + column, room);
    return room;
  }
  // Where to write the row: the view's own memory where it is fp32.
  float* Target(View v, int64_t row, int64_t column, float* room) const {
    return Is16Bit(v.type) ? room : v.as<float>() + row * v.stride + column;
  }
  void FromFloat(const float* from, View v, int64_t row, int64_t column, int64_t count) const {
    if (!Is16Bit(v.type)) return;
    table_.narrow(FormatOf(v.type), count, from, v.as<uint16_t>() + row * v.stride + column);
  }

 private:
  const kernels::MixedTable& table_;
};

// f.template operator()<float>() or <double>(), by the views' type.
template <typename F>
void ByType(at::ScalarType type, const F& f) {
  if (type == at::kDouble) {
    f.template operator()<double>();
  } else {
    f.template operator()<float>();
  }
}

// f of what the kernels call the numbers in memory.
template <typename F>
void ByKernel(at::ScalarType type, const F& f) {
  if (type == at::kBFloat16) {
    f.template operator()<kernels::BFloat16>();
  } else if (type == at::kHalf) {
    f.template operator()<kernels::Half>();
  } else {
    ByType(type, f);
  }
}

// f of what stores an element, for those who only move it: c10::BFloat16, c10::Half, too.
template <typename F>
void ByStorage(at::ScalarType type, const F& f) {
  if (type == at::kBFloat16) {
    f.template operator()<c10::BFloat16>();
  } else if (type == at::kHalf) {
    f.template operator()<c10::Half>();
  } else {
    ByType(type, f);
  }
}

// Rows (or columns) a thread should at least have, so that starting it pays: `cost` elements each.
inline int64_t GrainOf(int64_t cost) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, cost));
}

// This thread's memory for packing and for attention, made at its first use and kept. Attention of
// 16-bit numbers has a head's operands there in fp32, and rows have room for kLongestRow.
inline constexpr int64_t kLongestRow = int64_t{1} << 14;
struct Workspace {
  void* pack;
  void* attention;  // AttentionBytes of its longest sequence
  float* head;      // kHeadFloats of `head_rows` x kernels::kHeadDim
  float* rows;      // kRowBuffers of kLongestRow
  int64_t head_rows;
};
inline constexpr int64_t kHeadFloats = 8;
inline constexpr int64_t kRowBuffers = 4;
// What attention needs for each position of a sequence (kernels/attention.h), doubles at most.
inline constexpr int64_t kBytesAPosition = 8 * (2 * kernels::kHeadDim + 2 * kernels::kQueryRows);
// Sequences up to here fit into a workspace without a word: ViT-L/14@336 has 577 positions.
inline constexpr int64_t kUsualSequence = 640;
constexpr int64_t AttentionBytes(int64_t longest) {
  constexpr int64_t kMostLanes = 16;
  return (longest + kMostLanes - 1) / kMostLanes * kMostLanes * kBytesAPosition +
         (int64_t{1} << 12);
}
inline constexpr int64_t kUsualAttentionBytes = AttentionBytes(kUsualSequence);
// Grows where `longest` is longer than all before; what an earlier call gave is then gone, so only
// an op that calls no other may ask for more than is usual.
Workspace ThreadWorkspace(int64_t longest = kUsualSequence);

}  // namespace contrail::model
