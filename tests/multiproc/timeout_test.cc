// Ranks that stop or die while collectives are under way, without a launcher that watches them.
#include <gmock/gmock.h>
#include <signal.h>

#include <thread>

#include "monitoring/end_record.h"
#include "tests/multiproc/jobs.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

TEST(TimeoutTest, AStoppedRankIsNamedAndEndsTheJob) {
  const JobDir dir;
  const std::string run = dir / "run";
  Job job(3, {"train", dir.config(), "--run", run, "--set", "train.steps=100000", "--set",
              "train.global_batch_size=48", "--set", "launcher.collective_seconds=2"});
  ASSERT_TRUE(WaitForFile(run + "/checkpoints/step_00000008/COMMIT"));
  job.SignalRank(1, SIGSTOP, run);
  const Ended ended = job.Wait();
  EXPECT_NE(ended.code, 0);
  EXPECT_THAT(ended.output, HasSubstr("E-MPI-TIMEOUT: rank "));
  EXPECT_THAT(ended.output, HasSubstr("not arrived: rank 1 (no answer)"));
  int spoke = 0;
  for (int rank : {0, 2}) {
    const auto record = monitor::ReadEndRecord({run}, 1, rank);
    if (!record) continue;  // ended by the other's abort
    ++spoke;
    EXPECT_EQ(record->outcome, "environment_error");
    EXPECT_EQ(record->error_id, "E-MPI-TIMEOUT");
    EXPECT_THAT(record->message, testing::ContainsRegex("number [0-9]+ \\([0-9]+ bytes\\)"));
    EXPECT_GE(record->step, 8u);
    EXPECT_EQ(record->missing, std::vector<int>{1});
  }
  EXPECT_GE(spoke, 1);
  EXPECT_FALSE(monitor::ReadEndRecord({run}, 1, 1));
}

}  // namespace
}  // namespace contrail::worker
