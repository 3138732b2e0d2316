#include "common/escape.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "common/log.h"

namespace contrail {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kForged = "k\x1b[2J\x1b]0;owned\x07\ncontrail: all fine";

TEST(Escape, SpellsOutWhatATerminalWouldObey) {
  EXPECT_EQ(Escape("plain \\ text, 東京 é"), "plain \\ text, 東京 é");
  EXPECT_EQ(Escape(kForged), "k\\x1b[2J\\x1b]0;owned\\x07\\x0acontrail: all fine");
  EXPECT_EQ(Escape("a\x7f"
                   "b"),
            "a\\x7fb");
  EXPECT_EQ(Escape("\xc2\x9b"
                   "2J"),
            "\\xc2\\x9b2J")
      << "C1";
  EXPECT_EQ(Escape("a\xe2\x80\xae"
                   "gpj"),
            "a\\xe2\\x80\\xaegpj")
      << "right to left from here on";
  EXPECT_EQ(Escape("caf\xe9"), "caf\\xe9") << "Latin-1";
  EXPECT_EQ(Escape(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(Escape(Escape(kForged)), Escape(kForged));
}

TEST(Escape, LongNamesLoseTheirMiddle) {
  const std::string shown = EscapeShort(std::string(1000, 'a') + std::string(1000, 'b'));
  EXPECT_LT(shown.size(), 220u);
  EXPECT_THAT(shown, testing::StartsWith("aaaa"));
  EXPECT_THAT(shown, testing::EndsWith("bbbb"));
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "東";
  EXPECT_THAT(EscapeShort(wide), Not(HasSubstr("\\x"))) << "cut between characters";
}

TEST(Escape, Utf8) {
  EXPECT_TRUE(IsUtf8("naïve 🦉"));
  for (const char* bad : {"caf\xe9", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe6\x9d"}) {
    EXPECT_FALSE(IsUtf8(bad)) << Escape(bad);
  }
}

TEST(Escape, ErrorsAndLogLinesStayOneLine) {
  const Error error = UserError("E-X", kForged, "sample '" + std::string(kForged) + "'", kForged);
  for (const char c : std::string(error.what())) EXPECT_GE(c, ' ');
  const Error again(error.kind(), error.id(), "", error.what());
  EXPECT_EQ(again.what(), "E-X: " + std::string(error.what())) << "said on by another process";
  EXPECT_LT(std::string(UserError("E-X", "", std::string(1 << 20, 'x')).what()).size(), 5000u);

  std::string written;
  SetStderrWriter([&](const std::string& text) { written += text; });
  LogInfo("samples: " + std::string(kForged));
  SetStderrWriter(nullptr);
  EXPECT_EQ(written, "samples: " + Escape(kForged) + "\n");
}

}  // namespace
}  // namespace contrail
