#include "model/loss_kernels.h"

#include "model/loss_vector.h"

namespace contrail::model::loss {
namespace {

// The rows [begin, end) of ExpAndSum; column_sum and column_max are this block's own.
CONTRAIL_VECTORIZED
void ExpAndSumRows(const Tile& tile, int64_t begin, int64_t end, float s, double* row_sum,
                   float* row_max, float* column_sum, float* column_max) {
  const float shift = s / 2;
  for (int64_t i = begin; i < end; ++i) {
    float* row = tile.data + i * tile.stride;
    Floats sum = {};
    Floats maximum = sum + kMasked;
    for (int64_t j = 0; j < tile.columns; j += kLanes) {
      Floats x = At(row + j);
      Raise(maximum, x);
      Raise(At(column_max + j), x);
      x = x * s - shift;
      Exp(x);
      At(row + j) = x;
      sum += x;
      At(column_sum + j) += x;
    }
    alignas(64) float lanes[kLanes];
    At(lanes) = sum;
    row_sum[i] += SumOfLanes(lanes);
    At(lanes) = maximum;
    row_max[i] = MaxOfLanes(lanes, row_max[i]);
  }
}

CONTRAIL_VECTORIZED
void ExpGradientRows(const Tile& tile, int64_t begin, int64_t end, float s, const float* inv_row,
                     const float* inv_column, float* row_max) {
  const float shift = s / 2;
  for (int64_t i = begin; i < end; ++i) {
    float* row = tile.data + i * tile.stride;
    Floats maximum = Floats{} + kMasked;
    for (int64_t j = 0; j < tile.columns; j += kLanes) {
      Floats x = At(row + j);
      Raise(maximum, x);
      x = x * s - shift;
      Exp(x);
      At(row + j) = x * (At(inv_column + j) + inv_row[i]);
    }
    alignas(64) float lanes[kLanes];
    At(lanes) = maximum;
    row_max[i] = MaxOfLanes(lanes, row_max[i]);
  }
}

CONTRAIL_VECTORIZED
void GradientRows(const Tile& tile, int64_t begin, int64_t end, const float* inv_row,
                  const float* inv_column) {
  for (int64_t i = begin; i < end; ++i) {
    float* row = tile.data + i * tile.stride;
    for (int64_t j = 0; j < tile.columns; j += kLanes) {
      At(row + j) *= At(inv_column + j) + inv_row[i];
    }
  }
}

CONTRAIL_VECTORIZED
void ShiftedSumRows(const Tile& tile, int64_t begin, int64_t end, float s, double* shift,
                    double* sum) {
  for (int64_t i = begin; i < end; ++i) {
    const float* row = tile.data + i * tile.stride;
    Floats maximum = Floats{} + kMasked;
    for (int64_t j = 0; j < tile.columns; j += kLanes) Raise(maximum, At(row + j));
    alignas(64) float lanes[kLanes];
    At(lanes) = maximum;
    const float largest = MaxOfLanes(lanes, kMasked);
    if (largest <= kMasked) continue;  // the diagonal alone

    // (x - largest) first: exact where it matters, near the maximum.
    Floats tile_sum = {};
    for (int64_t j = 0; j < tile.columns; j += kLanes) {
      Floats x = (At(row + j) - largest) * s;
      Exp(x);
      tile_sum += x;
    }
    At(lanes) = tile_sum;
    const double here = static_cast<double>(s) * largest;
    const double top = std::max(shift[i], here);
    sum[i] = sum[i] * std::exp(shift[i] - top) + SumOfLanes(lanes) * std::exp(here - top);
    shift[i] = top;
  }
}

CONTRAIL_VECTORIZED
void ShiftedGradientRows(const Tile& tile, int64_t begin, int64_t end, float s,
                         const float* lse_row, const float* lse_column, float* row_max) {
  for (int64_t i = begin; i < end; ++i) {
    float* row = tile.data + i * tile.stride;
    Floats maximum = Floats{} + kMasked;
    for (int64_t j = 0; j < tile.columns; j += kLanes) {
      const Floats x = At(row + j);
      Raise(maximum, x);
      Floats p_row = x * s - lse_row[i];
      Floats p_column = x * s - At(lse_column + j);
      Exp(p_row);
      Exp(p_column);
      At(row + j) = p_row + p_column;
    }
    alignas(64) float lanes[kLanes];
    At(lanes) = maximum;
    row_max[i] = MaxOfLanes(lanes, row_max[i]);
  }
}

}  // namespace

void ExpAndSum(Tile tile, float s, double* row_sum, float* row_max, double* column_sum,
               float* column_max, float* partial) {
  const auto sums_of = [&](int64_t begin) { return partial + begin / kRowBlock * 2 * tile.stride; };
  ForRowBlocks(tile, [&](int64_t begin, int64_t end) {
    float* sums = sums_of(begin);
    float* maxima = sums + tile.stride;
    std::fill(sums, sums + tile.stride, 0.0f);
    std::fill(maxima, maxima + tile.stride, kMasked);
    ExpAndSumRows(tile, begin, end, s, row_sum, row_max, sums, maxima);
  });
  for (int64_t begin = 0; begin < tile.rows; begin += kRowBlock) {
    const float* sums = sums_of(begin);
    const float* maxima = sums + tile.stride;
    for (int64_t j = 0; j < tile.columns; ++j) {
      column_sum[j] += sums[j];
      column_max[j] = std::max(column_max[j], maxima[j]);
    }
  }
}

void ExpGradient(Tile tile, float s, const float* inv_row, const float* inv_column,
                 float* row_max) {
  ForRowBlocks(tile, [&](int64_t begin, int64_t end) {
    ExpGradientRows(tile, begin, end, s, inv_row, inv_column, row_max);
  });
}

void Gradient(Tile tile, const float* inv_row, const float* inv_column) {
  ForRowBlocks(tile, [&](int64_t begin, int64_t end) {
    GradientRows(tile, begin, end, inv_row, inv_column);
  });
}

void ShiftedSum(Tile tile, float s, double* shift, double* sum) {
  ForRowBlocks(
      tile, [&](int64_t begin, int64_t end) { ShiftedSumRows(tile, begin, end, s, shift, sum); });
}

void ShiftedGradient(Tile tile, float s, const float* lse_row, const float* lse_column,
                     float* row_max) {
  ForRowBlocks(tile, [&](int64_t begin, int64_t end) {
    ShiftedGradientRows(tile, begin, end, s, lse_row, lse_column, row_max);
  });
}

}  // namespace contrail::model::loss
