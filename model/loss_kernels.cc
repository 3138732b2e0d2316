#include "model/loss_kernels.h"

#include <cstring>

// A version for each width of vector unit, chosen when the program starts. The compiler splits the
// 64-byte vectors where registers are narrower.
#define CONTRAIL_VECTORIZED \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define CONTRAIL_INLINE inline __attribute__((always_inline))

namespace contrail::model::loss {
namespace {

typedef float Floats __attribute__((vector_size(64), may_alias));
typedef int32_t Ints __attribute__((vector_size(64), may_alias));

CONTRAIL_INLINE Floats& At(float* p) { return *reinterpret_cast<Floats*>(p); }
CONTRAIL_INLINE const Floats& At(const float* p) { return *reinterpret_cast<const Floats*>(p); }

CONTRAIL_INLINE void Raise(Floats& maximum, const Floats& x) {
  maximum = x > maximum ? x : maximum;
}

// exp to 1.2 ulp on [-87.3, 88]; smaller arguments give 1.2e-38, not zero. Range reduction by
// ln 2 in two parts, degree-6 polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes, S. Moshier, expf).
CONTRAIL_INLINE void Exp(Floats& x) {
  const Floats zero = {};
  Raise(x, zero - 87.33f);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats rounded = x * 1.44269504089f + kRound;
  const Floats k = rounded - kRound;
  const Floats r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * (r * r) + r + 1.0f;
  const Ints exponent = reinterpret_cast<const Ints&>(rounded) - 0x4B400000;  // bits of kRound
  const Ints power = (exponent + 127) << 23;
  x = y * reinterpret_cast<const Floats&>(power);
}

double SumOfLanes(const float* lanes) {
  double sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

float MaxOfLanes(const float* lanes, float maximum) {
  for (int64_t i = 0; i < kLanes; ++i) maximum = std::max(maximum, lanes[i]);
  return maximum;
}

void MaskPadding(const Tile& tile, int64_t begin, int64_t end) {
  const int64_t padded = PadToLanes(tile.columns);
  for (int64_t i = begin; i < end; ++i) {
    std::fill(tile.data + i * tile.stride + tile.columns, tile.data + i * tile.stride + padded,
              kMasked);
  }
}

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

// body(begin, end) for every block of rows, the padding of those rows masked before.
template <typename Body>
void ForRowBlocks(const Tile& tile, const Body& body) {
  const int64_t blocks = (tile.rows + kRowBlock - 1) / kRowBlock;
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kRowBlock;
      const int64_t end = std::min(tile.rows, begin + kRowBlock);
      MaskPadding(tile, begin, end);
      body(begin, end);
    }
  });
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
