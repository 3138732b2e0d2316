#include "launcher/lease.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "common/recording_file_system.h"

namespace contrail::launcher {
namespace {

constexpr double kSoon = 10;  // seconds; what is waited for comes at once

class Lease : public ::testing::Test {
 protected:
  Lease() {
    disk_.MakeDir("/run");
    lease_.owner = "ours";
    lease_.host = "here";
    lease_.state = "running";
    monitor::WriteLease(run_, lease_, disk_);
  }

  RecordingFileSystem disk_;
  const monitor::RunDir run_ = {"/run"};
  monitor::Lease lease_;
};

TEST(Owner, IsDrawnOnceAndIsNobodyElses) {
  EXPECT_THAT(OwnerToken(), ::testing::MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(OwnLease(3, std::nullopt).owner, OwnerToken());
}

TEST_F(Lease, IsRenewedOnRequestAndReleasedAtTheEnd) {
  {
    LeaseKeeper keeper(disk_, run_, lease_);
    keeper.Set(2, "restarting");
    ASSERT_TRUE(keeper.Settle(kSoon));
    const auto found = monitor::ReadLease(run_, disk_);
    EXPECT_EQ(found->attempt, 2);
    EXPECT_EQ(found->state, "restarting");
    EXPECT_GT(found->renewals, 0u);
    EXPECT_FALSE(keeper.lost());
  }
  EXPECT_EQ(monitor::ReadLease(run_, disk_)->state, "released");
}

TEST_F(Lease, AnotherOwnerHasItWhateverItsAttempt) {
  for (const int attempt : {1, 9}) {
    monitor::WriteLease(run_, lease_, disk_);
    LeaseKeeper keeper(disk_, run_, lease_);
    keeper.Set(4, "running");
    ASSERT_TRUE(keeper.Settle(kSoon));
    monitor::Lease other = lease_;
    other.owner = "theirs";
    other.attempt = attempt;
    monitor::WriteLease(run_, other, disk_);
    keeper.Set(5, "running");
    ASSERT_TRUE(keeper.Settle(kSoon));
    EXPECT_TRUE(keeper.lost());
    EXPECT_EQ(monitor::ReadLease(run_, disk_)->owner, "theirs");
  }
  EXPECT_EQ(monitor::ReadLease(run_, disk_)->owner, "theirs") << "nor released in another's name";
}

// Writes a lease of another right after ours, once.
class Overtaken : public FaultyFileSystem {
 public:
  Overtaken(FileSystem& inner, monitor::RunDir run)
      : FaultyFileSystem(inner), run_(std::move(run)) {}
  void Rename(const std::string& from, const std::string& to) override {
    FaultyFileSystem::Rename(from, to);
    if (to != run_.Lease() || std::exchange(done_, true)) return;
    monitor::WriteLease(run_, {.owner = "theirs", .state = "running"}, *this);
  }

 private:
  const monitor::RunDir run_;
  bool done_ = false;
};

TEST_F(Lease, OfTwoThatWriteTogetherTheFirstNoticesAtOnce) {
  Overtaken fs(disk_, run_);
  LeaseKeeper keeper(fs, run_, lease_);
  keeper.Set(2, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  EXPECT_TRUE(keeper.lost());
}

TEST_F(Lease, WhatCannotBeReadIsLeftAlone) {
  FaultyFileSystem fs(disk_);
  monitor::Lease other = lease_;
  other.owner = "theirs";
  LeaseKeeper keeper(fs, run_, lease_);
  keeper.Set(1, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  monitor::WriteLease(run_, other, disk_);
  fs.FailQuestions("lease.json", EIO, 1);
  keeper.Set(2, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  EXPECT_FALSE(keeper.lost()) << "nobody knows";
  EXPECT_EQ(monitor::ReadLease(run_, disk_)->owner, "theirs") << "not written over";
  keeper.Set(2, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  EXPECT_TRUE(keeper.lost());
}

}  // namespace
}  // namespace contrail::launcher
