#include "monitoring/owner/lease_keeper.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "common/host_name.h"
#include "common/recording_file_system.h"

namespace contrail::monitor {
namespace {

constexpr double kSoon = 10;  // seconds; what is waited for comes at once

class LeaseKeeperTest : public ::testing::Test {
 protected:
  LeaseKeeperTest() {
    disk_.MakeDir("/run");
    lease_.owner = "ours";
    lease_.host = "here";
    lease_.state = "running";
    WriteLease(run_, lease_, disk_);
  }

  RecordingFileSystem disk_;
  const RunDir run_ = {"/run"};
  Lease lease_;
};

TEST(Owner, IsDrawnOnceAndIsNobodyElses) {
  EXPECT_THAT(OwnerToken(), ::testing::MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(OwnLease(3, "").owner, OwnerToken());
  EXPECT_EQ(OwnLease(3, "").boot, BootId());
  EXPECT_FALSE(BootId().empty());
}

TEST_F(LeaseKeeperTest, IsRenewedOnRequestAndReleasedAtTheEnd) {
  {
    LeaseKeeper keeper(disk_, run_, lease_);
    keeper.Set(2, "restarting");
    ASSERT_TRUE(keeper.Settle(kSoon));
    const auto found = ReadLease(run_, disk_);
    EXPECT_EQ(found->attempt, 2);
    EXPECT_EQ(found->state, "restarting");
    EXPECT_GT(found->renewals, 0u);
    EXPECT_FALSE(keeper.lost());
  }
  EXPECT_EQ(ReadLease(run_, disk_)->state, "released");
}

TEST_F(LeaseKeeperTest, ALaterAttemptOfAnotherOwnerHasIt) {
  // Attempt 4 was the last one that was written here, whatever is to be written next.
  for (const int attempt : {4, 9}) {
    WriteLease(run_, lease_, disk_);
    LeaseKeeper keeper(disk_, run_, lease_);
    keeper.Set(4, "running");
    ASSERT_TRUE(keeper.Settle(kSoon));
    Lease other = lease_;
    other.owner = "theirs";
    other.attempt = attempt;
    WriteLease(run_, other, disk_);
    keeper.Set(12, "running");
    ASSERT_TRUE(keeper.Settle(kSoon));
    EXPECT_TRUE(keeper.lost());
    EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs");
  }
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs") << "nor released in another's name";
}

TEST_F(LeaseKeeperTest, AnEarlierAttemptOfAnotherOwnerIsWrittenOver) {
  lease_.attempt = 4;
  WriteLease(run_, lease_, disk_);
  LeaseKeeper keeper(disk_, run_, lease_);
  // The renewal of one who was taken for dead hung until now.
  Lease late = lease_;
  late.owner = "theirs";
  late.attempt = 3;
  WriteLease(run_, late, disk_);
  keeper.Set(4, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  EXPECT_FALSE(keeper.lost());
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "ours");
}

// Somebody takes the run over while our text is made durable.
class Hung : public FaultyFileSystem {
 public:
  Hung(FileSystem& inner, RunDir run) : FaultyFileSystem(inner), run_(std::move(run)) {}
  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override {
    if (path == run_.Lease() + ".tmp-ours") {
      WriteLease(run_, {.owner = "theirs", .attempt = 2, .state = "running"}, *this);
    }
    return FaultyFileSystem::Open(path, mode);
  }

 private:
  const RunDir run_;
};

TEST_F(LeaseKeeperTest, ARenewalThatHungTakesNothingBack) {
  lease_.attempt = 1;
  WriteLease(run_, lease_, disk_);
  Hung fs(disk_, run_);
  {
    LeaseKeeper keeper(fs, run_, lease_);
    keeper.Set(1, "running");
    ASSERT_TRUE(keeper.Settle(kSoon));
    EXPECT_TRUE(keeper.lost());
  }
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs");
  EXPECT_THAT(disk_.List("/run"), ::testing::ElementsAre("lease.json"));
}

// Writes a lease of another right after ours, once.
class Overtaken : public FaultyFileSystem {
 public:
  Overtaken(FileSystem& inner, RunDir run) : FaultyFileSystem(inner), run_(std::move(run)) {}
  void Rename(const std::string& from, const std::string& to) override {
    FaultyFileSystem::Rename(from, to);
    if (to != run_.Lease() || std::exchange(done_, true)) return;
    WriteLease(run_, {.owner = "theirs", .attempt = 3, .state = "running"}, *this);
  }

 private:
  const RunDir run_;
  bool done_ = false;
};

TEST_F(LeaseKeeperTest, OfTwoThatWriteTogetherTheFirstNoticesAtOnce) {
  Overtaken fs(disk_, run_);
  LeaseKeeper keeper(fs, run_, lease_);
  keeper.Set(2, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  EXPECT_TRUE(keeper.lost());
}

TEST_F(LeaseKeeperTest, WhatCannotBeReadIsLeftAlone) {
  FaultyFileSystem fs(disk_);
  Lease other = lease_;
  other.owner = "theirs";
  other.attempt = 3;
  LeaseKeeper keeper(fs, run_, lease_);
  keeper.Set(1, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  WriteLease(run_, other, disk_);
  fs.FailQuestions("lease.json", EIO, 1);
  keeper.Set(2, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  EXPECT_FALSE(keeper.lost()) << "nobody knows";
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs") << "not written over";
  keeper.Set(2, "running");
  ASSERT_TRUE(keeper.Settle(kSoon));
  EXPECT_TRUE(keeper.lost());
}

}  // namespace
}  // namespace contrail::monitor
