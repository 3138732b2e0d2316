#include "common/error.h"

#include <gmock/gmock.h>

#include "common/clock.h"

namespace contrail {
namespace {

TEST(Error, OneLineWithIdPlaceCauseAndFix) {
  const Error error = UserError("E-X", "a.toml:3", "no such key", "did you mean 'b'?");
  EXPECT_STREQ(error.what(), "E-X: a.toml:3: no such key; did you mean 'b'?");
  EXPECT_STREQ(UserError("E-X", "", "bad").what(), "E-X: bad");
  EXPECT_EQ(error.id(), "E-X");
}

TEST(Error, KindsHaveTheirExitCodes) {
  EXPECT_EQ(UserError("E-X", "", "").exit_code(), 2);
  EXPECT_EQ(EnvironmentError("E-X", "", "").exit_code(), 75);
  EXPECT_EQ(Error(ErrorKind::kBug, "E-BUG", "", "").exit_code(), 70);
}

TEST(Error, ABrokenPromiseNamesItsLine) {
  try {
    CONTRAIL_ASSERT(1 + 1 == 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBug);
    EXPECT_THAT(error.what(), testing::HasSubstr("error_test.cc:"));
    EXPECT_THAT(error.what(), testing::HasSubstr("1 + 1 == 3"));
  }
  EXPECT_NO_THROW(CONTRAIL_ASSERT(true));
}

TEST(Clock, FakeMovesOnlyWhenTold) {
  FakeClock clock(100);
  EXPECT_EQ(clock.Now(), 100);
  clock.Advance(2.5);
  EXPECT_EQ(clock.Now(), 102.5);
  EXPECT_EQ(clock.Monotonic(), 102.5);
  const double before = SystemClock().Monotonic();
  EXPECT_GE(SystemClock().Monotonic(), before);
  EXPECT_GT(SystemClock().Now(), 1.6e9);
}

}  // namespace
}  // namespace contrail
