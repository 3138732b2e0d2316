#include "data/permutation.h"

#include <algorithm>
#include <bit>

#include "common/error.h"
#include "common/rng.h"

namespace contrail::data {

Permutation::Permutation(uint64_t seed, uint64_t a, uint64_t b, uint64_t size) : size_(size) {
  CONTRAIL_ASSERT(size > 0);
  // Halves of fewer than 4 bits mix badly; walking a 256-cycle for a tiny size costs nothing.
  half_bits_ = std::max(4, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
  half_mask_ = (uint64_t{1} << half_bits_) - 1;
  RandomStream draws(seed, a, b);
  for (uint64_t& key : round_key_) key = draws.NextU64();
}

uint64_t Permutation::operator()(uint64_t index) const {
  CONTRAIL_ASSERT(index < size_);
  do {
    uint64_t left = index >> half_bits_;
    uint64_t right = index & half_mask_;
    for (const uint64_t key : round_key_) {
      const uint64_t mixed = left ^ (Mix64(right ^ key) & half_mask_);
      left = right;
      right = mixed;
    }
    index = (left << half_bits_) | right;
  } while (index >= size_);
  return index;
}

}  // namespace contrail::data
