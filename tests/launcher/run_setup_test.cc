#include "launcher/run_setup.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "common/token.h"
#include "configs/load.h"
#include "launcher/lease.h"
#include "monitoring/owner/claim.h"

namespace contrail::launcher {
namespace {

using ::testing::HasSubstr;

class RunSetup : public ::testing::Test {
 protected:
  RunSetup() {
    char name[] = "/tmp/contrail_setup_XXXXXX";
    dir_ = mkdtemp(name);
    PosixFileSystem().WriteAtomically(dir_ + "/a.tar", "x");
    config_.data.train = {dir_ + "/a.tar"};
    config_.train.steps = 5;
  }
  ~RunSetup() override { std::filesystem::remove_all(dir_); }

  std::string dir_;
  Config config_;
};

TEST_F(RunSetup, MissingInputsAreNamed) {
  EXPECT_NO_THROW(CheckInputs(config_));
  config_.data.train = {dir_ + "/{a,b,c}.tar"};
  config_.data.train = {dir_ + "/a.tar", dir_ + "/p-{0..3}.tar"};
  try {
    CheckInputs(config_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-DATA-MISSING");
    EXPECT_THAT(error.what(), HasSubstr("p-0.tar: No such file or directory (4 of 5 shards"));
  }
  config_.data.train = {dir_ + "/a.tar"};
  config_.eval.zero_shot = dir_ + "/none";
  EXPECT_THROW(CheckInputs(config_), Error);
}

TEST_F(RunSetup, ARunIsMadeWholeOrNotAtAll) {
  const monitor::RunDir run = {dir_ + "/runs/a"};
  {
    const RunClaim claim = CreateRun(PosixFileSystem(), run, config_, OwnLease(0, std::nullopt));
    EXPECT_EQ(claim.attempt, 1);
    EXPECT_EQ(monitor::ClaimantOf(PosixFileSystem(), run, 1).owner, OwnerToken());
    EXPECT_EQ(LoadResolved(run.root).train.steps, 5);
    EXPECT_EQ(monitor::ReadLease(run)->pid, getpid());
    // Same process, another lock: busy.
    EXPECT_THROW(RunLock{run}, Error);
    EXPECT_THROW(CreateRun(PosixFileSystem(), run, config_, OwnLease(0, std::nullopt)), Error);
  }
  EXPECT_NO_THROW(RunLock{run});
  EXPECT_EQ(PosixFileSystem().List(dir_ + "/runs").size(), 1u);  // no draft is left
}

TEST_F(RunSetup, OfManyLaunchersOneMakesTheRun) {
  const monitor::RunDir run = {dir_ + "/race"};
  std::vector<pid_t> pids;
  for (int i = 0; i < 8; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      try {
        monitor::Lease self = OwnLease(0, std::nullopt);
        self.owner = RandomToken();  // a launcher is a process of its own, not a fork of another
        const RunClaim claim = CreateRun(PosixFileSystem(), run, config_, self);
        usleep(300'000);
        _exit(0);
      } catch (const Error& error) {
        _exit(error.id() == "E-RUN-EXISTS" ? 2 : 9);
      }
    }
    pids.push_back(pid);
  }
  int made = 0, refused = 0;
  for (const pid_t pid : pids) {
    int status = 0;
    waitpid(pid, &status, 0);
    made += WEXITSTATUS(status) == 0;
    refused += WEXITSTATUS(status) == 2;
  }
  EXPECT_EQ(made, 1);
  EXPECT_EQ(refused, 7);
}

}  // namespace
}  // namespace contrail::launcher
