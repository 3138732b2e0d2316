#pragma once
// What convolutions, pools and batch norm share on the host: rows of a norm's state, and its sums
// over pieces of rows, which may be formed by whoever writes those rows.

#include "model/ops/cpu_ops.h"
#include "model/ops/pieces.h"

namespace contrail::model {

template <typename T>
T* RowOf(View v, int64_t row) {
  return v.as<T>() + row * v.stride;
}

// Rows of BatchNorm::state.
enum class NormRow : int64_t { kMean, kRstd, kVariance, kScale, kShift, kA, kB, kC };
template <typename T>
T* StateRow(const BatchNorm& norm, int64_t group, NormRow row) {
  return RowOf<T>(norm.state, BatchNorm::kStateRows * group + static_cast<int64_t>(row));
}

// One number out of memory.
inline float Number(float v) { return v; }
inline double Number(double v) { return v; }
inline float Number(kernels::BFloat16 v) {
  return c10::BFloat16(v.bits, c10::BFloat16::from_bits());
}
inline float Number(kernels::Half v) { return c10::Half(v.bits, c10::Half::from_bits()); }

// Two sums a channel and piece, in memory of the calling thread that is kept for its next norm. T
// is what memory holds; sums and state are Compute<T>.
template <typename T>
class NormSums {
 public:
  using C = kernels::Compute<T>;
  NormSums(const BatchNorm& norm, const kernels::ConvTable<T>& kernels);
  const Pieces& pieces() const { return pieces_; }

  // Columns [column, column + columns) of rows [row, row + rows) of `piece`, which are final:
  // statistics, and through a ReLU and norm. A piece's rows come in order, kSumRows at a time.
  void AddStatistics(int64_t piece, int64_t row, int64_t rows, int64_t column, int64_t columns);
  void AddThrough(const Through& through, View d, int64_t piece, int64_t row, int64_t rows,
                  int64_t column, int64_t columns);

  void FinishStatistics();  // state up to kShift
  void FinishThrough();     // the rest of it; d_gain, d_bias

 private:
  C* Sum(int64_t piece, int64_t which) const { return sums_ + (2 * piece + which) * norm_.x.cols; }

  const BatchNorm& norm_;
  const kernels::ConvTable<T>& kernels_;
  Pieces pieces_;
  C* sums_;
};

}  // namespace contrail::model
