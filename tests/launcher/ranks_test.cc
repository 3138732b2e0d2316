#include "launcher/ranks.h"

#include <gmock/gmock.h>

#include "common/error.h"

namespace contrail::launcher {
namespace {

using ::testing::HasSubstr;

Config With(int64_t ranks, int64_t batch, const std::string& origin = "--ranks") {
  Config config;
  config.launcher.ranks = ranks;
  config.train.global_batch_size = batch;
  config.origin["launcher.ranks"] = origin;
  return config;
}

TEST(Ranks, NearestDivisor) {
  EXPECT_EQ(NearestRanks(0, 96), 1);
  EXPECT_EQ(NearestRanks(-5, 96), 1);
  EXPECT_EQ(NearestRanks(5, 96), 4);  // 4 and 6 are equally near
  EXPECT_EQ(NearestRanks(7, 96), 6);
  EXPECT_EQ(NearestRanks(1000, 96), 96);
  EXPECT_EQ(NearestRanks(592, 32768), 512);
  EXPECT_EQ(NearestRanks(3, 97), 1);
}

TEST(Ranks, WrongNumbersNameTheNearestThatWorks) {
  struct Row {
    int64_t ranks;
    const char* what;
    const char* fix;
  };
  for (const Row& row :
       {Row{0, "0 ranks cannot train", "--ranks 1"}, Row{-4, "-4 ranks cannot train", "--ranks 1"},
        Row{128, "more than the global batch of 96", "--ranks 96"},
        Row{7, "do not divide the global batch of 96", "--ranks 6"}}) {
    Config config = With(row.ranks, 96);
    try {
      SettleRanks(config, std::nullopt);
      ADD_FAILURE() << row.ranks;
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-RANKS");
      EXPECT_EQ(error.exit_code(), kExitUser);
      EXPECT_THAT(error.what(), HasSubstr(row.what));
      EXPECT_THAT(error.what(), HasSubstr(row.fix));
    }
  }
}

TEST(Ranks, TheAllocationDecidesWhereNobodyElseDid) {
  slurm::Allocation allocation;
  allocation.job_id = "5";
  allocation.tasks = 8;
  Config config = With(1, 96, "default");
  SettleRanks(config, allocation);
  EXPECT_EQ(config.launcher.ranks, 8);
  EXPECT_EQ(config.origin["launcher.ranks"], "SLURM_NTASKS");
  Config given = With(4, 96);
  SettleRanks(given, allocation);
  EXPECT_EQ(given.launcher.ranks, 4);
  Config many = With(12, 96);
  EXPECT_THROW(SettleRanks(many, allocation), Error);
}

TEST(Ranks, ThreadsShareTheNode) {
  slurm::Allocation allocation;
  allocation.nodes = {"a", "b"};
  allocation.cpus_on_node = 16;
  EXPECT_EQ(ThreadsPerRank(With(8, 96), allocation, /*usable=*/64), 4);
  EXPECT_EQ(ThreadsPerRank(With(8, 96), allocation, /*usable=*/8), 2) << "the kernel's word counts";
  EXPECT_EQ(ThreadsPerRank(With(96, 96), allocation, /*usable=*/64), 1);
  Config set = With(8, 96);
  set.launcher.threads_per_rank = 3;
  EXPECT_EQ(ThreadsPerRank(set, allocation), 3);
  EXPECT_EQ(ThreadsPerRank(With(1, 96), std::nullopt), UsableCores());
}

}  // namespace
}  // namespace contrail::launcher
