#include "launcher/patience.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <vector>

#include "common/error.h"

namespace contrail::launcher {
namespace {

class Patience : public ::testing::Test {
 protected:
  FakeClock clock_;
  std::vector<double> pauses_;
  const Waiting waiting_ = {clock_, [this](double seconds) {
                              pauses_.push_back(seconds);
                              clock_.Advance(seconds);
                            }};
};

TEST_F(Patience, WhatPassesByItselfIsWaitedFor) {
  int tries = 0;
  DoPatiently(
      100,
      [&] {
        if (++tries < 4) throw IoError(ESTALE, "/run", "could not list");
      },
      waiting_);
  EXPECT_EQ(tries, 4);
  EXPECT_THAT(pauses_, ::testing::ElementsAre(1, 2, 4));
}

TEST_F(Patience, AnOutageThatLastsIsThrown) {
  int tries = 0;
  const auto fail = [&] {
    ++tries;
    throw IoError(EIO, "/run", "could not list");
  };
  EXPECT_THROW(DoPatiently(200, fail, waiting_), IoError);
  EXPECT_THAT(pauses_, ::testing::ElementsAre(1, 2, 4, 8, 16, 32, 60, 60));
  EXPECT_EQ(tries, 9);
}

TEST_F(Patience, WhatTheUserMustCureIsThrownAtOnce) {
  EXPECT_THROW(DoPatiently(
                   100, [] { throw IoError(EACCES, "/run", "could not list"); }, waiting_),
               IoError);
  EXPECT_THROW(DoPatiently(
                   100, [] { throw UserError("E-RUN-BUSY", "/run", "is busy"); }, waiting_),
               Error);
  EXPECT_TRUE(pauses_.empty());
}

}  // namespace
}  // namespace contrail::launcher
