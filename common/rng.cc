#include "common/rng.h"

#include <cmath>
#include <numbers>

namespace contrail {

std::array<uint32_t, 4> Philox(uint64_t key, uint64_t counter_hi, uint64_t counter_lo) {
  auto k0 = static_cast<uint32_t>(key);
  auto k1 = static_cast<uint32_t>(key >> 32);
  auto c0 = static_cast<uint32_t>(counter_lo);
  auto c1 = static_cast<uint32_t>(counter_lo >> 32);
  auto c2 = static_cast<uint32_t>(counter_hi);
  auto c3 = static_cast<uint32_t>(counter_hi >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

uint64_t Mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

RandomStream::RandomStream(uint64_t key, uint64_t a, uint64_t b)
    : key_(Mix64(key)), hi_(Mix64(a) ^ Mix64(~b)) {
  // (a, b) is folded to 64 bits; the low half counts draws.
}

uint32_t RandomStream::NextU32() {
  if (used_ == 4) {
    block_ = Philox(key_, hi_, lo_++);
    used_ = 0;
  }
  return block_[static_cast<size_t>(used_++)];
}

uint64_t RandomStream::NextU64() {
  const uint64_t low = NextU32();
  return (uint64_t{NextU32()} << 32) | low;
}

double RandomStream::NextUniform() { return static_cast<double>(NextU64() >> 11) * 0x1.0p-53; }

uint64_t RandomStream::NextBelow(uint64_t bound) {
  const uint64_t limit = (0 - bound) % bound;  // draws below `limit` would be biased
  for (;;) {
    const uint64_t draw = NextU64();
    if (draw >= limit) return draw % bound;
  }
}

double RandomStream::NextNormal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - NextUniform()));
  const double angle = 2.0 * std::numbers::pi * NextUniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

}  // namespace contrail
