#pragma once
// Counter-based random numbers: every draw is a pure function of (key, counter), so augmentation,
// order and initialisation are the same whatever the rank count, restart or thread.
//
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).

#include <array>
#include <cstdint>

namespace contrail {

// Four 32-bit words from a 64-bit key and a 128-bit counter.
std::array<uint32_t, 4> Philox(uint64_t key, uint64_t counter_hi, uint64_t counter_lo);

// splitmix64's finaliser: a bijection on 64 bits that mixes well.
uint64_t Mix64(uint64_t x);

// A stream of draws for one subject, for example one sample's augmentation:
//   RandomStream draws(seed, epoch, sample);
class RandomStream {
 public:
  RandomStream(uint64_t key, uint64_t a, uint64_t b);

  uint32_t NextU32();
  uint64_t NextU64();
  double NextUniform();                // [0, 1), 53 bits
  uint64_t NextBelow(uint64_t bound);  // [0, bound), unbiased; bound > 0
  double NextNormal();                 // N(0, 1), Box-Muller

 private:
  uint64_t key_;
  uint64_t hi_;
  uint64_t lo_ = 0;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace contrail
