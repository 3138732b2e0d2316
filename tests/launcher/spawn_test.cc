#include "launcher/spawn.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "common/strings.h"

namespace contrail::launcher {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

AttemptPlan Plan(const Config& config) {
  AttemptPlan plan;
  plan.config = &config;
  plan.mpirun = "/usr/bin/mpirun";
  plan.worker = "/opt/contrail-worker";
  plan.run_dir = "/runs/a";
  plan.attempt = 3;
  plan.ranks = 4;
  plan.threads = 1;
  plan.cores = 2;
  plan.board = "/dev/shm/contrail.x.3";
  plan.scratch = "/dev/shm/contrail.x.3.mpi";
  return plan;
}

TEST(MpirunCommand, OnOneMachine) {
  Config config;
  const Child::Options options = MpirunCommand(Plan(config));
  EXPECT_TRUE(options.block_sigterm);
  EXPECT_EQ(Join(options.argv, " "),
            "/usr/bin/mpirun -n 4 --tag-output --mca orte_tmpdir_base /dev/shm/contrail.x.3.mpi "
            "--mca btl_vader_backing_directory /dev/shm/contrail.x.3.mpi "
            "--oversubscribe --bind-to none --mca btl self,vader "
            "--mca mpi_yield_when_idle 1 /opt/contrail-worker train --run /runs/a --attempt 3 "
            "--progress /dev/shm/contrail.x.3 --ranks 4 --threads 1");
  EXPECT_EQ(options.environment.empty(), geteuid() != 0);
}

TEST(MpirunCommand, EnoughCoresDoNotYield) {
  Config config;
  AttemptPlan plan = Plan(config);
  plan.cores = 4;
  EXPECT_THAT(MpirunCommand(plan).argv, Not(Contains("mpi_yield_when_idle")));
}

TEST(MpirunCommand, ArgumentsOfTheConfigComeLastAndWin) {
  Config config;
  config.launcher.mpirun_args = {"--mca", "btl", "self,tcp"};
  AttemptPlan plan = Plan(config);
  plan.from = 120;
  const std::string line = Join(MpirunCommand(plan).argv, " ");
  EXPECT_THAT(line, Not(HasSubstr("self,vader")));
  EXPECT_THAT(line, HasSubstr("--mca btl self,tcp /opt/contrail-worker train"));
  EXPECT_THAT(line, HasSubstr("--threads 1 --from 120"));
}

TEST(MpirunCommand, OverSeveralNodesTheSchedulerPlacesAndDaemonsAreWrapped) {
  Config config;
  AttemptPlan plan = Plan(config);
  plan.allocation.emplace();
  plan.allocation->nodes = {"n1", "n2"};
  const std::string line = Join(MpirunCommand(plan).argv, " ");
  EXPECT_THAT(line, Not(HasSubstr("--oversubscribe")));
  EXPECT_THAT(line, Not(HasSubstr("vader")));
  EXPECT_THAT(line, HasSubstr("--mca orte_launch_agent "));
  EXPECT_THAT(line, HasSubstr(" node-agent orted "));
}

}  // namespace
}  // namespace contrail::launcher
