#include "worker/comm/halving_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <set>

namespace contrail::worker {
namespace {

constexpr int kMost = 592;
using Ranks = std::bitset<kMost>;  // whose values are in a sum

int CeilLog2(int n) {
  int log = 0;
  while ((1 << log) < n) ++log;
  return log;
}

std::vector<std::vector<HalvingStage>> Plans(int size) {
  std::vector<std::vector<HalvingStage>> plans;
  for (int rank = 0; rank < size; ++rank) plans.push_back(PlanHalving(rank, size));
  return plans;
}

std::vector<int> Sizes() {
  std::vector<int> sizes;
  for (int size = 1; size <= 70; ++size) sizes.push_back(size);
  for (int size : {96, 127, 128, 148, 200, 592}) sizes.push_back(size);
  return sizes;
}

TEST(HalvingPlan, EveryStageIsOneMessageAndWhatIsGivenIsTaken) {
  for (const int size : Sizes()) {
    const auto plans = Plans(size);
    for (int rank = 0; rank < size; ++rank) {
      ASSERT_EQ(static_cast<int>(plans[rank].size()), CeilLog2(size)) << size;
      size_t given = 0;
      for (size_t i = 0; i < plans[rank].size(); ++i) {
        const HalvingStage& stage = plans[rank][i];
        ASSERT_NE(stage.to, rank);
        ASSERT_EQ(plans[stage.to][i].from, rank) << size;
        ASSERT_EQ(plans[stage.to][i].take, stage.give) << size;
        given += stage.give.size();
      }
      ASSERT_EQ(static_cast<int>(given), size - 1) << "no more data than a direct exchange moves";
    }
  }
}

TEST(HalvingPlan, EachSliceIsTheSumOfEveryRankOnce) {
  for (const int size : Sizes()) {
    const auto plans = Plans(size);
    // sums[rank][slice]; a stage takes what the other had before it.
    std::vector<std::vector<Ranks>> sums(size, std::vector<Ranks>(size));
    for (int rank = 0; rank < size; ++rank) {
      for (Ranks& sum : sums[rank]) sum.set(rank);
    }
    for (size_t i = 0; i < plans[0].size(); ++i) {
      const auto before = sums;
      for (int rank = 0; rank < size; ++rank) {
        const HalvingStage& stage = plans[rank][i];
        for (const int slice : stage.take) {
          ASSERT_TRUE((sums[rank][slice] & before[stage.from][slice]).none()) << size;
          sums[rank][slice] |= before[stage.from][slice];
        }
      }
    }
    for (int rank = 0; rank < size; ++rank) {
      ASSERT_EQ(static_cast<int>(sums[rank][rank].count()), size) << "rank " << rank;
    }
  }
}

TEST(HalvingPlan, BackwardsItGathersEverySlice) {
  for (const int size : Sizes()) {
    const auto plans = Plans(size);
    std::vector<std::set<int>> have(size);
    for (int rank = 0; rank < size; ++rank) have[rank] = {rank};
    for (size_t i = plans[0].size(); i-- > 0;) {
      const auto before = have;
      for (int rank = 0; rank < size; ++rank) {
        for (const int slice : plans[rank][i].give) {
          ASSERT_TRUE(before[plans[rank][i].to].count(slice)) << size;
          have[rank].insert(slice);
        }
      }
    }
    for (const auto& slices : have) ASSERT_EQ(static_cast<int>(slices.size()), size);
  }
}

// 148 nodes of 4 ranks: how much of a tensor leaves a node, for each of its bytes.
TEST(HalvingPlan, ANetworkCarriesEachSliceOnceANode) {
  size_t crossing = 0;
  std::set<int> peers;
  for (int rank = 296; rank < 300; ++rank) {
    for (const HalvingStage& stage : PlanHalving(rank, 592)) {
      if (stage.to / 4 != rank / 4) crossing += stage.give.size();
      if (rank == 296) peers.insert({stage.to, stage.from});
    }
  }
  EXPECT_EQ(crossing, 4u * 147);  // of 4 * 588 in a direct exchange
  EXPECT_EQ(peers.size(), 16u);   // of 591
}

}  // namespace
}  // namespace contrail::worker
