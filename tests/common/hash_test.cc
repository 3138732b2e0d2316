#include "common/hash.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

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

TEST(Hash, PagesAndTheWholeAgree) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 37 + i / 7);
  for (const size_t page : {1u, 8u, 12u, 64u, 333u, 1000u, 4096u}) {
    for (const size_t size : {size_t{0}, size_t{1}, page, 3 * page, 3 * page + 1, size_t{1000}}) {
      if (size > text.size()) continue;
      std::vector<uint32_t> crcs((size + page - 1) / page);
      Crc32cOfPages(text.data(), size, page, crcs.data());
      for (size_t i = 0; i < crcs.size(); ++i)
        ASSERT_EQ(crcs[i], Crc(text.substr(0, size).substr(i * page, page)));
      EXPECT_EQ(Crc32cFromPages(crcs.data(), size, page), Crc(text.substr(0, size)));
    }
  }
}

TEST(Hash, WritersSayWhatTheyChange) {
  const std::string a = "first", b = "second";
  const std::string zeros = "<" + std::string(5, '\0') + "|" + std::string(6, '\0') + ">";
  EXPECT_EQ(Crc(zeros) ^ Crc32cChange(a.data(), a.size(), 8) ^ Crc32cChange(b.data(), b.size(), 1),
            Crc("<first|second>"));
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
