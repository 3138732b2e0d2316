#include "worker/rounding.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>
#include <vector>

namespace contrail::worker {
namespace {

// Every bf16 and fp16 number, what lies half way between two of them and a bit to either side, and
// what has no exponent there.
TEST(Rounding, IsToNearestEven) {
  std::vector<float> values;
  for (uint32_t high = 0; high < 65536; ++high) {
    for (const uint32_t low : {0u, 0x7fffu, 0x8000u, 0x8001u, 0x0fffu, 0x1000u, 0x1001u, 0xffffu}) {
      const uint32_t bits = high << 16 | low;
      values.push_back(__builtin_bit_cast(float, bits));
    }
  }
  const auto count = static_cast<int64_t>(values.size());
  const at::Tensor from = at::from_blob(values.data(), {count}, at::kFloat);
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    at::Tensor to = at::empty({count}, type);
    RoundTo(type == at::kHalf ? Narrow::kHalf : Narrow::kBFloat16, count, values.data(),
            static_cast<uint16_t*>(to.data_ptr()));
    const at::Tensor expected = from.to(type);
    const at::Tensor same = to.eq(expected).logical_or(to.isnan().logical_and(expected.isnan()));
    EXPECT_TRUE(same.all().item<bool>());
  }
}

float Widened(uint16_t bits) {
  float value = 0;
  Widen(1, &bits, &value);
  return value;
}

TEST(StochasticRounding, IsUnbiasedAndLeavesWhatFits) {
  // 1 + 0.3 spacings, a negative, a small and a denormal number.
  const std::vector<float> values = {1 + 0.3f / 128, -3.7182817f, 1.2345e-30f, 3.3e-39f, 65504.0f};
  constexpr uint64_t kDraws = 200000;
  for (const float value : values) {
    const at::Tensor same = at::full({static_cast<int64_t>(kDraws)}, value, at::kFloat);
    std::vector<uint16_t> rounded(kDraws);
    RoundStochastically(12345, 77, kDraws, same.const_data_ptr<float>(), rounded.data());
    std::set<float> seen;
    double sum = 0;
    for (const uint16_t bits : rounded) {
      seen.insert(Widened(bits));
      sum += Widened(bits);
    }
    ASSERT_LE(seen.size(), 2u);
    const double spacing = static_cast<double>(*seen.rbegin()) - *seen.begin();
    // Five standard deviations of the mean of draws that are at most a spacing apart.
    EXPECT_NEAR(sum / kDraws, value, 5 * 0.5 * spacing / std::sqrt(kDraws)) << value;
  }
  for (const float fits : {0.0f, -0.0f, 1.5f, -2.0f, INFINITY, -INFINITY}) {
    uint16_t bits = 0;
    for (uint64_t key = 0; key < 1000; ++key) {
      RoundStochastically(key * 0x9e3779b97f4a7c15u, 0, 1, &fits, &bits);
      ASSERT_EQ(std::bit_cast<uint32_t>(Widened(bits)), std::bit_cast<uint32_t>(fits));
    }
  }
  uint16_t bits = 0;
  const float nan = std::bit_cast<float>(0x7fffffffu);
  RoundStochastically(1, 0, 1, &nan, &bits);
  EXPECT_TRUE(std::isnan(Widened(bits)));
}

TEST(StochasticRounding, DependsOnKeyAndElementOnly) {
  const at::Tensor noise =
      at::randn({5000}, at::make_generator<at::CPUGeneratorImpl>(uint64_t{3}), at::kFloat);
  const float* values = noise.const_data_ptr<float>();
  std::vector<uint16_t> whole(5000), parts(5000), other(5000);
  RoundStochastically(9, 100, 5000, values, whole.data());
  for (int64_t at = 0; at < 5000; at += 613) {
    RoundStochastically(9, 100 + at, std::min<int64_t>(613, 5000 - at), values + at, &parts[at]);
  }
  EXPECT_EQ(whole, parts);
  RoundStochastically(10, 100, 5000, values, other.data());
  int64_t differ = 0;
  for (size_t i = 0; i < whole.size(); ++i) differ += whole[i] != other[i];
  // Independent draws differ with probability 2 p (1 - p), a third on average.
  EXPECT_NEAR(static_cast<double>(differ) / 5000, 1.0 / 3, 0.04);
}

}  // namespace
}  // namespace contrail::worker
