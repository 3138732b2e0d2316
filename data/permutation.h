#pragma once
// A keyed bijection on [0, size) found without a table: a balanced Feistel network on the next even
// number of bits, walked along its cycle until it lands inside (Black & Rogaway, "Ciphers with
// arbitrary finite domains", CT-RSA 2002).

#include <array>
#include <cstdint>

namespace contrail::data {

class Permutation {
 public:
  // The permutation of `size` > 0 items named by (seed, a, b).
  Permutation(uint64_t seed, uint64_t a, uint64_t b, uint64_t size);

  uint64_t operator()(uint64_t index) const;  // index in [0, size)

 private:
  static constexpr int kRounds = 6;
  uint64_t size_;
  int half_bits_;
  uint64_t half_mask_;
  std::array<uint64_t, kRounds> round_key_;
};

}  // namespace contrail::data
