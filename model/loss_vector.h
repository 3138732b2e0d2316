#pragma once
// 16 floats at a time, and blocks of rows in parallel: what the losses' kernels are made of. For
// their .cc files only.

#include <algorithm>

#include "model/loss_kernels.h"

// A version for each width of vector unit, chosen when the program starts. The compiler splits the
// 64-byte vectors where registers are narrower.
#define CONTRAIL_VECTORIZED \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define CONTRAIL_INLINE inline __attribute__((always_inline))

namespace contrail::model::loss {

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

inline double SumOfLanes(const float* lanes) {
  double sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

inline float MaxOfLanes(const float* lanes, float maximum) {
  for (int64_t i = 0; i < kLanes; ++i) maximum = std::max(maximum, lanes[i]);
  return maximum;
}

inline void MaskPadding(const Tile& tile, int64_t begin, int64_t end) {
  const int64_t padded = PadToLanes(tile.columns);
  for (int64_t i = begin; i < end; ++i) {
    std::fill(tile.data + i * tile.stride + tile.columns, tile.data + i * tile.stride + padded,
              kMasked);
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

}  // namespace contrail::model::loss
