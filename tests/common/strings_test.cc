#include "common/strings.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "common/error.h"
#include "common/rng.h"

namespace contrail {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Strings, SplitJoinTrim) {
  EXPECT_THAT(Split("a,b,,c", ','), ElementsAre("a", "b", "", "c"));
  EXPECT_THAT(Split("", ','), ElementsAre(""));
  EXPECT_THAT(Split("a,", ','), ElementsAre("a", ""));
  EXPECT_EQ(Join({"a", "b", "c"}, ", "), "a, b, c");
  EXPECT_EQ(Join({}, ", "), "");
  EXPECT_EQ(Trim(" \t a b \r\n"), "a b");
  EXPECT_EQ(Trim(" \n"), "");
}

TEST(Strings, NearestSuggestsOnlyWhatIsNear) {
  const std::vector<std::string> keys = {"train.lr", "train.steps", "data.train"};
  EXPECT_EQ(Nearest("train.lrr", keys), "train.lr");
  EXPECT_EQ(Nearest("trian.steps", keys), "train.steps");
  EXPECT_EQ(Nearest("colour", keys), "");
  EXPECT_EQ(DidYouMean("train.lrr", keys), "did you mean 'train.lr'?");
  EXPECT_EQ(DidYouMean("zzz", keys), "");
}

TEST(Strings, ExactDoubleReadsBack) {
  EXPECT_EQ(ExactDouble(0.1), "0.1");
  EXPECT_EQ(ExactDouble(1e-6), "1e-06");
  EXPECT_EQ(ExactDouble(0), "0");
  EXPECT_EQ(ExactDouble(std::nan("")), "nan");
  EXPECT_EQ(ExactDouble(std::numeric_limits<double>::infinity()), "inf");
  RandomStream draws(1, 2, 3);
  for (int i = 0; i < 2000; ++i) {
    const double value =
        draws.NextNormal() * std::pow(10.0, static_cast<double>(draws.NextBelow(60)) - 30);
    EXPECT_EQ(std::strtod(ExactDouble(value).c_str(), nullptr), value);
  }
}

TEST(Strings, ForPeople) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1500), "1.5 kB");
  EXPECT_EQ(HumanBytes(1'500'000'000), "1.5 GB");
  EXPECT_EQ(HumanBytes(999'999), "1.0 MB");
  EXPECT_EQ(HumanSeconds(4.2), "4.2 s");
  EXPECT_EQ(HumanSeconds(42), "42 s");
  EXPECT_EQ(HumanSeconds(190), "3 min 10 s");
  EXPECT_EQ(HumanSeconds(7500), "2 h 5 min");
}

TEST(Strings, Braces) {
  EXPECT_THAT(ExpandBraces("plain.tar"), ElementsAre("plain.tar"));
  EXPECT_THAT(ExpandBraces("p-{008..011}.tar"),
              ElementsAre("p-008.tar", "p-009.tar", "p-010.tar", "p-011.tar"));
  EXPECT_THAT(ExpandBraces("{0..1}/{2..3}"), ElementsAre("0/2", "0/3", "1/2", "1/3"));
}

std::string BraceError(const std::string& pattern) {
  try {
    ExpandBraces(pattern);
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-DATA-BRACES");
    EXPECT_EQ(error.exit_code(), kExitUser);
    return error.what();
  }
  return "";
}

TEST(Strings, IllFormedBraces) {
  EXPECT_THAT(BraceError("p-{000..009.tar"), HasSubstr("'{' without '}'"));
  EXPECT_THAT(BraceError("p-{000-009}.tar"), HasSubstr("no '..'"));
  EXPECT_THAT(BraceError("p-{a..c}.tar"), HasSubstr("whole numbers"));
  EXPECT_THAT(BraceError("p-{9..0}.tar"), HasSubstr("backwards"));
  EXPECT_THAT(BraceError("p-{-1..3}.tar"), HasSubstr("whole numbers"));
  EXPECT_THAT(BraceError("p-{0..99999999}.tar"), HasSubstr("ten million"));
}

}  // namespace
}  // namespace contrail
