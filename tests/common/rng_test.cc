#include "common/rng.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>
#include <vector>

namespace contrail {
namespace {

using Block = std::array<uint32_t, 4>;

// Random123's kat_vectors for philox4x32-10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox(0, 0, 0), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0, low words first.
  EXPECT_EQ(Philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, IsAFunctionOfItsKeyAlone) {
  RandomStream a(1, 2, 3);
  RandomStream b(1, 2, 3);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.NextU32(), b.NextU32());
  std::set<uint64_t> firsts;
  for (uint64_t key = 0; key < 10; ++key) {
    for (uint64_t epoch = 0; epoch < 10; ++epoch) {
      for (uint64_t sample = 0; sample < 10; ++sample) {
        firsts.insert(RandomStream(key, epoch, sample).NextU64());
      }
    }
  }
  EXPECT_EQ(firsts.size(), 1000u);
}

TEST(RandomStream, NextBelowIsUniform) {
  RandomStream draws(7, 0, 0);
  std::vector<int> counts(7, 0);
  for (int i = 0; i < 70000; ++i) ++counts[draws.NextBelow(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);  // 5 standard deviations
  EXPECT_EQ(draws.NextBelow(1), 0u);
}

TEST(RandomStream, UniformsAndNormalsHaveTheirMoments) {
  RandomStream draws(8, 0, 0);
  constexpr int kDraws = 200000;
  double uniform = 0;
  double normal = 0;
  double square = 0;
  double fourth = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = draws.NextUniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    uniform += u;
    const double n = draws.NextNormal();
    normal += n;
    square += n * n;
    fourth += n * n * n * n;
  }
  EXPECT_NEAR(uniform / kDraws, 0.5, 0.0033);
  EXPECT_NEAR(normal / kDraws, 0, 0.0112);
  EXPECT_NEAR(square / kDraws, 1, 0.0158);
  EXPECT_NEAR(fourth / kDraws, 3, 0.11);
}

TEST(Mix64, FlipsHalfTheBits) {
  int flipped = 0;
  for (uint64_t x = 0; x < 64; ++x) {
    for (int bit = 0; bit < 64; ++bit) {
      flipped += std::popcount(Mix64(x) ^ Mix64(x ^ (uint64_t{1} << bit)));
    }
  }
  EXPECT_NEAR(flipped / 4096.0, 32, 0.4);
}

}  // namespace
}  // namespace contrail
