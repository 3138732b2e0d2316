#pragma once
// Elementwise passes over one tile of cosines x_ij = <row i, column j>, for model/loss.cc.
// Deterministic: blocks of 64 rows run in parallel and are combined in order.

#include <cstdint>

namespace contrail::model::loss {

inline constexpr int64_t kLanes = 16;     // floats of one cache line
inline constexpr int64_t kRowBlock = 64;  // rows one task takes
inline constexpr float kMasked = -1e30f;  // a cosine that counts for nothing

inline int64_t PadToLanes(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Row-major, rows `stride` apart, 64-byte aligned; stride and every vector over columns are padded
// to whole lanes. The kernels overwrite the padding of the tile.
struct Tile {
  float* data = nullptr;
  int64_t stride = 0;
  int64_t rows = 0;
  int64_t columns = 0;
};

// x <- exp(s x - s/2). Adds the results to row_sum and column_sum; raises row_max and column_max
// to the largest x. `partial`: scratch of 2 * stride floats for each block of rows.
void ExpAndSum(Tile tile, float s, double* row_sum, float* row_max, double* column_sum,
               float* column_max, float* partial);

// x <- exp(s x - s/2) (inv_row[i] + inv_column[j]); raises row_max.
void ExpGradient(Tile tile, float s, const float* inv_row, const float* inv_column, float* row_max);

// e <- e (inv_row[i] + inv_column[j]) for a tile that ExpAndSum left.
void Gradient(Tile tile, const float* inv_row, const float* inv_column);

// Running logsumexp of a row over tiles, shifted by the largest logit so far:
// sum exp(s x) = exp(shift[i]) * sum[i]. Start with shift = s * kMasked, sum = 0.
void ShiftedSum(Tile tile, float s, double* shift, double* sum);

// x <- exp(s x - lse_row[i]) + exp(s x - lse_column[j]); raises row_max.
void ShiftedGradient(Tile tile, float s, const float* lse_row, const float* lse_column,
                     float* row_max);

}  // namespace contrail::model::loss
