#include "slurm/env.h"

#include <gmock/gmock.h>

#include "common/error.h"

namespace contrail::slurm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SlurmEnv, NoJobNoAllocation) {
  EXPECT_FALSE(ReadAllocation({{"SLURM_CLUSTER_NAME", "x"}, {"SLURM_JOB_ID", ""}}).has_value());
}

TEST(SlurmEnv, ReadsWhatTheBatchScriptSees) {
  const auto allocation = ReadAllocation({{"SLURM_JOB_ID", "1234"},
                                          {"SLURM_JOB_NODELIST", "n[1-2]"},
                                          {"SLURM_NTASKS", "8"},
                                          {"SLURM_CPUS_ON_NODE", "16"},
                                          {"SLURM_RESTART_COUNT", "2"},
                                          {"SLURM_CLUSTER_NAME", "alps"}});
  ASSERT_TRUE(allocation.has_value());
  EXPECT_EQ(allocation->job_id, "1234");
  EXPECT_THAT(allocation->nodes, ElementsAre("n1", "n2"));
  EXPECT_EQ(allocation->tasks, 8);
  EXPECT_EQ(allocation->cpus_on_node, 16);
  EXPECT_EQ(allocation->restart_count, 2);
  EXPECT_EQ(allocation->cluster, "alps");
}

TEST(SlurmEnv, ANumberThatIsNoneIsNamed) {
  try {
    ReadAllocation({{"SLURM_JOB_ID", "1"}, {"SLURM_NTASKS", "many"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-SLURM-ENV");
    EXPECT_THAT(error.what(), HasSubstr("SLURM_NTASKS"));
  }
}

TEST(SlurmEnv, WhatAnEndedJobLeftInTheShellIsNamed) {
  EXPECT_EQ(LeftOver({}, "n1"), "");
  EXPECT_EQ(LeftOver({{"SLURM_CONF", "/etc/slurm.conf"}}, "n1"), "");
  EXPECT_EQ(LeftOver({{"SLURM_JOBID", "77"}}, "n1"), "SLURM_JOBID");
  const std::map<std::string, std::string> job = {
      {"SLURM_JOB_ID", "77"}, {"SLURM_JOB_NODELIST", "n[1-2]"}, {"SLURM_NNODES", "2"}};
  EXPECT_EQ(LeftOver(job, "n1"), "");
  EXPECT_EQ(LeftOver(job, "n2.cluster"), "");
  EXPECT_EQ(LeftOver(job, "login"), "SLURM_JOB_ID, SLURM_JOB_NODELIST, SLURM_NNODES");
}

}  // namespace
}  // namespace contrail::slurm
