#include "common/hash.h"

#include <gtest/gtest.h>

#include <string>

namespace contrail {
namespace {

uint32_t Crc(const std::string& text) { return Crc32c(0, text.data(), text.size()); }

TEST(Hash, Crc32cKnownAnswers) {
  EXPECT_EQ(Crc("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc(""), 0u);
  // RFC 3720, appendix B.4.
  EXPECT_EQ(Crc(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc(std::string(32, '\xff')), 0x62a8ab43u);
  std::string rising;
  for (char c = 0; c < 32; ++c) rising += c;
  EXPECT_EQ(Crc(rising), 0x46dd794eu);
}

TEST(Hash, Crc32cExtendsAtEverySplit) {
  const std::string text = "the quick brown fox jumps over the lazy dog";
  for (size_t i = 0; i <= text.size(); ++i) {
    EXPECT_EQ(Crc32c(Crc(text.substr(0, i)), text.data() + i, text.size() - i), Crc(text));
  }
}

TEST(Hash, MaskedAsTensorFlowDoes) {
  // tensorflow core/lib/hash/crc32c_test.cc: masking changes the value, twice is not once.
  const uint32_t crc = Crc("foo");
  EXPECT_NE(MaskCrc(crc), crc);
  EXPECT_NE(MaskCrc(MaskCrc(crc)), crc);
  const uint32_t rotated = MaskCrc(crc) - 0xa282ead8u;
  EXPECT_EQ((rotated >> 17) | (rotated << 15), crc);
}

TEST(Hash, Fnv1aKnownAnswers) {
  EXPECT_EQ(Fnv1a(""), 0xcbf29ce484222325u);
  EXPECT_EQ(Fnv1a("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(Fnv1a("foobar"), 0x85944171f73967e8u);
  EXPECT_EQ(Hex64(0x85944171f73967e8u), "85944171f73967e8");
  EXPECT_EQ(Hex64(1), "0000000000000001");
}

}  // namespace
}  // namespace contrail
