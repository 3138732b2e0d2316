#include "worker/rounding.h"

#include "worker/vectorized.h"

namespace contrail::worker {
namespace {

// Adding half of what is cut off, less where the last kept bit is even, and cutting. A NaN keeps
// its upper bits, one of which is set so that it stays one.
CONTRAIL_VECTORIZED
void ToBFloat16(int64_t count, const float* __restrict from, uint16_t* __restrict to) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, from[i]);
    const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to[i] = static_cast<uint16_t>((nan ? bits | 0x400000u : rounded) >> 16);
  }
}

// The same for fp16, whose exponent is narrower: below 2^-14 the adder rounds, by adding a number
// whose last bit is fp16's smallest.
CONTRAIL_VECTORIZED
void ToHalf(int64_t count, const float* __restrict from, uint16_t* __restrict to) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, from[i]);
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t small =
        __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
    const uint32_t finite = magnitude < (113u << 23) ? small : normal;
    const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const uint32_t half = magnitude >= 0x477ff000u ? special : finite;  // 65520 rounds to infinity
    to[i] = static_cast<uint16_t>(half | ((bits >> 16) & 0x8000u));
  }
}

}  // namespace

void RoundTo(Narrow type, int64_t count, const float* from, uint16_t* to) {
  if (type == Narrow::kBFloat16) {
    ToBFloat16(count, from, to);
  } else {
    ToHalf(count, from, to);
  }
}

CONTRAIL_VECTORIZED
void Widen(int64_t count, const uint16_t* __restrict from, float* __restrict to) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = __builtin_bit_cast(float, static_cast<uint32_t>(from[i]) << 16);
  }
}

// Sixteen random bits added below the last kept one carry into it with the probability that
// rounding up must have. The bits are a keyed mix of the index, after Wellons' lowbias32.
CONTRAIL_VECTORIZED
void RoundStochastically(uint64_t key, int64_t first, int64_t count, const float* __restrict from,
                         uint16_t* __restrict to) {
  const auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
  const auto start = static_cast<uint32_t>(first);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t x = (start + static_cast<uint32_t>(i)) ^ low;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = ((x ^ (x >> 15)) + high) * 0x846ca68bu;
    const uint32_t draw = x >> 16;
    const uint32_t bits = __builtin_bit_cast(uint32_t, from[i]);
    const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
    const uint32_t special = (bits & 0x7fffffu) != 0 ? bits | 0x400000u : bits;
    to[i] = static_cast<uint16_t>((finite ? bits + draw : special) >> 16);
  }
}

}  // namespace contrail::worker
