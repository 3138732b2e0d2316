#include "monitoring/owner/take_over.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <functional>
#include <utility>

#include "common/error.h"
#include "common/recording_file_system.h"
#include "common/token.h"
#include "monitoring/attempts.h"
#include "monitoring/owner/claim.h"

namespace contrail::monitor {
namespace {

// A run in memory, and time that passes only while somebody sleeps.
class TakeOver : public ::testing::Test {
 protected:
  TakeOver() {
    disk_.MakeDir("/run");
    disk_.MakeDir("/run/attempts");
  }

  static Lease Of(const std::string& owner, const std::string& host,
                  const std::string& state = "running", int attempt = 1) {
    Lease lease;
    lease.owner = owner;
    lease.host = host;
    lease.pid = 7;
    lease.state = state;
    lease.attempt = attempt;
    return lease;
  }

  Waiting Fake() {
    return {.clock = clock_, .sleep = [this](double seconds) {
              clock_.Advance(seconds);
              slept_ += seconds;
              if (while_asleep_) while_asleep_();
            }};
  }

  // "" or the id of the error.
  std::string Take(FileSystem& fs, const std::string& owner = "ours") {
    try {
      attempt_ = TakeRun(fs, run_, RunLock(), Of(owner, "here"), Fake()).attempt;
      return "";
    } catch (const Error& error) {
      return error.id();
    }
  }

  RecordingFileSystem disk_;
  const RunDir run_ = {"/run"};
  FakeClock clock_;
  double slept_ = 0;
  int attempt_ = 0;
  std::function<void()> while_asleep_;
};

TEST_F(TakeOver, AFreeRunIsTakenAtOnce) {
  EXPECT_EQ(Take(disk_), "");
  EXPECT_EQ(attempt_, 1);
  EXPECT_EQ(ClaimantOf(disk_, run_, 1).owner, "ours");
  WriteLease(run_, Of("theirs", "elsewhere", "released", 5), disk_);
  EXPECT_EQ(Take(disk_), "");
  EXPECT_EQ(attempt_, 6);
  EXPECT_EQ(slept_, 0);
}

TEST_F(TakeOver, ALeaseThatStaysAsItIsIsDeadWhateverItsClockSays) {
  for (const double ahead : {86400.0, 3600.0, 0.0, -3600.0}) {
    Lease dead = Of("dead", "elsewhere");
    dead.time = clock_.Now() + ahead;
    WriteLease(run_, dead, disk_);
    slept_ = 0;
    EXPECT_EQ(Take(disk_), "");
    EXPECT_GE(slept_, kWatchSeconds);
    EXPECT_LT(slept_, kWatchSeconds + 2);
  }
}

TEST_F(TakeOver, ALeaseThatChangesIsAliveWhateverItsClockSays) {
  Lease alive = Of("theirs", "elsewhere");  // its clock stands still at 1970
  WriteLease(run_, alive, disk_);
  while_asleep_ = [&] {
    if (slept_ < 4.9) return;
    ++alive.renewals;
    WriteLease(run_, alive, disk_);
  };
  EXPECT_EQ(Take(disk_), "E-RUN-BUSY");
  EXPECT_LT(slept_, 6);
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs");
}

TEST_F(TakeOver, OneThatIsReleasedMeanwhileIsTakenWithoutMoreWaiting) {
  WriteLease(run_, Of("theirs", "elsewhere"), disk_);
  while_asleep_ = [&] {
    if (slept_ > 3) WriteLease(run_, Of("theirs", "elsewhere", "released"), disk_);
  };
  EXPECT_EQ(Take(disk_), "");
  EXPECT_LT(slept_, 5);
}

TEST_F(TakeOver, AClaimWithoutALeaseIsWatchedToo) {
  WriteLease(run_, Of("old", "elsewhere", "released", 2), disk_);
  ASSERT_TRUE(ClaimAttempt(disk_, run_, 3, Of("theirs", "elsewhere")));
  while_asleep_ = [&] {
    if (slept_ > 8) WriteLease(run_, Of("theirs", "elsewhere", "running", 3), disk_);
  };
  EXPECT_EQ(Take(disk_), "E-RUN-BUSY");
  while_asleep_ = nullptr;

  // One that never writes its lease was killed in between.
  ASSERT_TRUE(ClaimAttempt(disk_, run_, 4, Of("killed", "elsewhere")));
  slept_ = 0;
  EXPECT_EQ(Take(disk_), "");
  EXPECT_EQ(attempt_, 5);
  EXPECT_GE(slept_, kWatchSeconds);
}

TEST_F(TakeOver, AttemptsOfABareMpirunAreNotWaitedFor) {
  disk_.MakeDir(run_.Attempt(1));
  disk_.WriteAtomically(run_.EndRecord(1, 0), "{}");
  EXPECT_EQ(Take(disk_), "");
  EXPECT_EQ(attempt_, 2);
  EXPECT_EQ(slept_, 0);
}

// A run on the disk: locks are of real directories.
class TemporaryRun {
 public:
  TemporaryRun() { PosixFileSystem().MakeDirs(run_.root + "/attempts"); }
  ~TemporaryRun() { PosixFileSystem().RemoveTree(run_.root); }
  const RunDir& run() const { return run_; }

 private:
  const RunDir run_ = {::testing::TempDir() + "take_over_" + RandomToken()};
};

// Does something just before a path is made, written or renamed to, once.
class Interrupted : public FaultyFileSystem {
 public:
  Interrupted(FileSystem& inner, std::string path, std::function<void()> what)
      : FaultyFileSystem(inner), path_(std::move(path)), what_(std::move(what)) {}
  bool MakeNewDir(const std::string& path) override {
    Interrupt(path);
    return FaultyFileSystem::MakeNewDir(path);
  }
  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override {
    Interrupt(path);
    return FaultyFileSystem::Open(path, mode);
  }
  void Rename(const std::string& from, const std::string& to) override {
    Interrupt(to);
    FaultyFileSystem::Rename(from, to);
  }

 private:
  void Interrupt(const std::string& path) {
    if (path == path_ && !std::exchange(done_, true)) what_();
  }
  const std::string path_;
  const std::function<void()> what_;
  bool done_ = false;
};

// Does something right after the lease was renamed into its place, once.
class Overwritten : public FaultyFileSystem {
 public:
  Overwritten(FileSystem& inner, std::string path, std::function<void()> what)
      : FaultyFileSystem(inner), path_(std::move(path)), what_(std::move(what)) {}
  void Rename(const std::string& from, const std::string& to) override {
    FaultyFileSystem::Rename(from, to);
    if (to == path_ && !std::exchange(done_, true)) what_();
  }

 private:
  const std::string path_;
  const std::function<void()> what_;
  bool done_ = false;
};

TEST_F(TakeOver, OfTwoThatStartTogetherOneRuns) {
  const auto write_theirs = [&] {
    Lease theirs = Of("theirs", "elsewhere", "running", 1);
    theirs.renewals = static_cast<uint64_t>(slept_ * 10);
    WriteLease(run_, theirs, disk_);
  };
  while_asleep_ = write_theirs;  // it lives
  // The other one claims first; its lease comes later.
  Interrupted before_claim(disk_, run_.Attempt(1),
                           [&] { ClaimAttempt(disk_, run_, 1, Of("theirs", "elsewhere")); });
  EXPECT_EQ(Take(before_claim), "E-RUN-BUSY");
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs");

  // It writes its lease right after ours: the last one has it.
  disk_.RemoveFile(run_.Lease());
  Overwritten fs(disk_, run_.Lease(), write_theirs);
  EXPECT_EQ(Take(fs), "E-RUN-BUSY");
}

TEST_F(TakeOver, OneWhoCameFirstWhileOursWasWrittenHasIt) {
  // Between the moment when our text is durable and its name.
  Interrupted fs(disk_, run_.Lease() + ".tmp-ours",
                 [&] { WriteLease(run_, Of("theirs", "elsewhere", "running", 2), disk_); });
  EXPECT_EQ(Take(fs), "E-RUN-BUSY");
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs");
  EXPECT_THAT(disk_.List("/run"), ::testing::UnorderedElementsAre("attempts", "lease.json"));
}

TEST_F(TakeOver, ANameThatCameLateIsNotTrusted) {
  // The rename takes longer than others wait: one of them has the run, and our lease replaces his.
  Interrupted fs(disk_, run_.Lease(), [&] { clock_.Advance(kWatchSeconds + 5); });
  while_asleep_ = [&] { WriteLease(run_, Of("theirs", "elsewhere", "running", 2), disk_); };
  EXPECT_EQ(Take(fs), "E-RUN-BUSY");
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs");
}

TEST_F(TakeOver, AHostIsItsNameAndItsBoot) {
  // Both locks tell: ours is held, and a dead process of this very boot cannot hold it.
  Lease dead = Of("dead", "here");
  dead.boot = "this boot";
  Lease self = Of("ours", "here");
  self.boot = "this boot";
  TemporaryRun real;
  WriteLease(real.run(), dead, PosixFileSystem());
  EXPECT_EQ(TakeRun(PosixFileSystem(), real.run(), RunLock(real.run()), self, Fake()).attempt, 2);
  EXPECT_EQ(slept_, 0);

  dead.boot = "another";
  dead.attempt = 7;
  WriteLease(real.run(), dead, PosixFileSystem());
  EXPECT_EQ(TakeRun(PosixFileSystem(), real.run(), RunLock(real.run()), self, Fake()).attempt, 8);
  EXPECT_GE(slept_, kWatchSeconds);
}

TEST_F(TakeOver, TheOneWhoWasTakenForDeadAndComesBackKeepsTheRun) {
  WriteLease(run_, Of("theirs", "elsewhere"), disk_);
  Interrupted fs(disk_, run_.Attempt(2), [&] {
    Lease back = Of("theirs", "elsewhere");
    back.renewals = 1;
    WriteLease(run_, back, disk_);
  });
  EXPECT_EQ(Take(fs), "E-RUN-BUSY");
  EXPECT_EQ(ReadLease(run_, disk_)->owner, "theirs");
}

TEST_F(TakeOver, WhatCannotBeReadIsNotFree) {
  WriteLease(run_, Of("theirs", "elsewhere", "released"), disk_);
  FaultyFileSystem fs(disk_);
  fs.FailQuestions("lease.json", ESTALE, 6);
  EXPECT_EQ(Take(fs), "");
  EXPECT_GT(slept_, 2);
  fs.FailQuestions("lease.json", EIO, UINT64_MAX);
  EXPECT_EQ(Take(fs), "E-IO");
  EXPECT_THROW(ReadLeasePatiently(fs, run_, Fake()), Error);
}

TEST_F(TakeOver, NumbersAreClaimedOnceAndCountedFromWhatIsLeft) {
  EXPECT_EQ(LastAttempt(disk_, run_), 0);
  const Lease self = Of("ours", "here");
  EXPECT_TRUE(ClaimAttempt(disk_, run_, 3, self));
  EXPECT_FALSE(ClaimAttempt(disk_, run_, 3, self));
  EXPECT_EQ(ClaimFreeAttempt(disk_, run_, 3, self), 4);
  disk_.MakeDirs(run_.Logs(7));
  EXPECT_EQ(LastAttempt(disk_, run_), 7);
  disk_.MakeDirs(run_.Attempt(12));
  EXPECT_EQ(LastAttempt(disk_, run_), 12);
  // What is no attempt's folder counts for nothing.
  for (const char* name : {"attempt_99.old", "attempt_", "attempt_-4", "attempts_50", "notes"}) {
    disk_.MakeDir(run_.root + "/attempts/" + name);
  }
  EXPECT_EQ(LastAttempt(disk_, run_), 12);
  EXPECT_THAT(AttemptsIn(disk_, run_.root + "/attempts"), ::testing::ElementsAre(3, 4, 12));
}

}  // namespace
}  // namespace contrail::monitor
