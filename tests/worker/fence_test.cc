// Who may write, by what the lease and later attempts say.
#include "worker/fence.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <functional>

#include "common/error.h"
#include "common/recording_file_system.h"
#include "monitoring/first_commit.h"
#include "monitoring/run_files.h"

namespace contrail::worker {
namespace {

// A run in memory, and time that passes only while somebody sleeps.
class Fence : public ::testing::Test {
 protected:
  Fence() { disk_.MakeDirs("/run/attempts"); }

  void Lease(const std::string& owner, int attempt) {
    monitor::WriteLease(run_, {.owner = owner, .attempt = attempt}, disk_);
  }

  // "" or the id of the error.
  std::string Ask(const FileSystem& fs) {
    slept_ = 0;
    try {
      CheckFence({run_, 2, "ours"}, fs, {.clock = clock_, .sleep = [this](double seconds) {
                                           clock_.Advance(seconds);
                                           slept_ += seconds;
                                           if (while_asleep_) while_asleep_();
                                         }});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
      return error.id();
    }
    return "";
  }

  RecordingFileSystem disk_;
  const monitor::RunDir run_ = {"/run"};
  FakeClock clock_;
  double slept_ = 0;
  std::function<void()> while_asleep_;
};

TEST_F(Fence, TheLaterAttemptHasTheRun) {
  struct Case {
    const char* owner;
    int attempt;
    const char* id;
    bool waits;
  };
  for (const Case& one : {Case{"ours", 1, "", false},  // not renewed yet
                          Case{"ours", 2, "", false}, Case{"ours", 3, "E-FENCED", false},
                          Case{"theirs", 1, "E-LEASE", true}, Case{"theirs", 2, "E-FENCED", false},
                          Case{"theirs", 3, "E-FENCED", false}}) {
    Lease(one.owner, one.attempt);
    EXPECT_EQ(Ask(disk_), one.id) << one.owner << one.attempt;
    EXPECT_EQ(slept_ > 0, one.waits) << one.owner << one.attempt;
    EXPECT_LT(slept_, kFenceSeconds + 1);
  }
}

TEST_F(Fence, ALateLeaseIsWaitedOut) {
  Lease("theirs", 1);
  while_asleep_ = [&] {
    if (slept_ > monitor::kLeaseRenewal) Lease("ours", 2);
  };
  EXPECT_EQ(Ask(disk_), "");
  EXPECT_GT(slept_, monitor::kLeaseRenewal);
  disk_.RemoveFile(run_.Lease());
  EXPECT_EQ(Ask(disk_), "") << "a lease that is gone comes back, too";
  disk_.RemoveFile(run_.Lease());
  while_asleep_ = nullptr;
  EXPECT_EQ(Ask(disk_), "E-LEASE");
}

TEST_F(Fence, WhatCannotBeReadSaysNothing) {
  Lease("ours", 2);
  FaultyFileSystem sick(disk_);
  sick.FailQuestions("lease.json", EIO, 1);
  EXPECT_EQ(Ask(sick), "E-IO");
  disk_.WriteAtomically(run_.Lease(), "{\"owner\":");
  EXPECT_EQ(Ask(disk_), "E-LEASE");
}

TEST_F(Fence, ALaterCommitTellsWhateverTheLeaseSays) {
  Lease("ours", 2);  // it came late and stands on the one of attempt 4
  disk_.MakeDirs(run_.Attempt(3));
  EXPECT_EQ(Ask(disk_), "") << "a claim whose maker gave way";
  monitor::WriteFirstCommit(run_, 1, 10, disk_);
  EXPECT_EQ(Ask(disk_), "");
  monitor::WriteFirstCommit(run_, 4, 20, disk_);
  EXPECT_EQ(Ask(disk_), "E-FENCED");
}

}  // namespace
}  // namespace contrail::worker
