#include "launcher/spawn.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <string>
#include <vector>

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
  plan.owner = "00ff";
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
            "--oversubscribe --mca btl self,vader --bind-to none "
            "--mca mpi_yield_when_idle 1 /opt/contrail-worker train --run /runs/a --attempt 3 "
            "--owner 00ff --progress /dev/shm/contrail.x.3 --ranks 4 --threads 1");
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
  plan.consent = "c0";
  const std::string line = Join(MpirunCommand(plan).argv, " ");
  EXPECT_THAT(line, Not(HasSubstr("self,vader")));
  EXPECT_THAT(line, HasSubstr("--mca btl self,tcp /opt/contrail-worker train"));
  EXPECT_THAT(line, HasSubstr("--threads 1 --consent c0 --from 120"));
}

TEST(MpirunCommand, RanksAreBoundToNoCoresUnlessTheConfigSaysHow) {
  Config config;
  AttemptPlan plan = Plan(config);
  for (const auto& nodes : std::vector<std::vector<std::string>>{{}, {"n1"}, {"n1", "n2"}}) {
    if (!nodes.empty()) plan.allocation.emplace().nodes = nodes;
    for (const auto& extra : std::vector<std::vector<std::string>>{
             {}, {"--map-by", "ppr:4:node"}, {"--mca", "btl", "self,tcp"}}) {
      config.launcher.mpirun_args = extra;
      EXPECT_THAT(Join(MpirunCommand(plan).argv, " "), HasSubstr(" --bind-to none "));
    }
    for (const auto& extra :
         std::vector<std::vector<std::string>>{{"--bind-to", "core"},
                                               {"--map-by", "slot:PE=4"},
                                               {"--mca", "hwloc_base_binding_policy", "socket"},
                                               {"--rankfile", "ranks.txt"}}) {
      config.launcher.mpirun_args = extra;
      EXPECT_THAT(Join(MpirunCommand(plan).argv, " "), Not(HasSubstr("--bind-to none")));
    }
  }
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
