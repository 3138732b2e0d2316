#include "common/memory_limit.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace contrail {
namespace {

// A machine's control groups, as files.
class MemoryLimitTest : public testing::Test {
 protected:
  MemoryLimitTest() {
    char name[] = "/tmp/contrail_groups_XXXXXX";
    root_ = mkdtemp(name);
    groups_ = {root_ + "/membership", root_ + "/cgroup"};
  }
  ~MemoryLimitTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + "/" + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  std::string root_;
  ControlGroups groups_;
};

TEST_F(MemoryLimitTest, OfNoGroupIsNone) {
  EXPECT_EQ(MemoryLimit(groups_), UINT64_MAX);
  EXPECT_EQ(MemoryKills(groups_), 0u);
  Write("membership", "0::/\n");
  EXPECT_EQ(MemoryLimit(groups_), UINT64_MAX);
}

TEST_F(MemoryLimitTest, OfTheSecondVersionIsTheLeastOnTheWayUp) {
  Write("membership", "0::/job/step\n");
  Write("cgroup/job/step/memory.max", "max\n");
  Write("cgroup/job/memory.max", "4000000000\n");
  EXPECT_EQ(MemoryLimit(groups_), 4000000000u);
  Write("cgroup/job/step/memory.max", "1000000000\n");
  EXPECT_EQ(MemoryLimit(groups_), 1000000000u);
  Write("cgroup/memory.max", "500\n");  // the top of a container
  EXPECT_EQ(MemoryLimit(groups_), 500u);
}

TEST_F(MemoryLimitTest, OfTheFirstVersionIsSeenAlike) {
  Write("membership", "9:name=systemd:/\n4:memory:/slurm/job_7\n2:cpu,cpuacct:/\n0::/\n");
  Write("cgroup/memory/slurm/job_7/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(MemoryLimit(groups_), UINT64_MAX);
  Write("cgroup/memory/slurm/memory.limit_in_bytes", "3000000000\n");
  EXPECT_EQ(MemoryLimit(groups_), 3000000000u);
  // A container sees the host's path, and its own group at the top.
  Write("membership", "4:memory:/docker/0123\n");
  Write("cgroup/memory/memory.limit_in_bytes", "200\n");
  EXPECT_EQ(MemoryLimit(groups_), 200u);
}

TEST_F(MemoryLimitTest, KillsAreCountedInTheOwnGroupAndWhereThereIsALimit) {
  Write("membership", "0::/job/step\n");
  Write("cgroup/job/step/memory.events", "low 0\nmax 3\noom 1\noom_kill 2\n");
  Write("cgroup/job/memory.events", "oom_kill 5\n");
  EXPECT_EQ(MemoryKills(groups_), 2u);
  Write("cgroup/job/memory.max", "4000000000\n");
  EXPECT_EQ(MemoryKills(groups_), 7u);
  Write("membership", "4:memory:/job\n");
  Write("cgroup/memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  EXPECT_EQ(MemoryKills(groups_), 3u);
}

}  // namespace
}  // namespace contrail
