#include "worker/lateness.h"

#include <gtest/gtest.h>

namespace contrail::worker {
namespace {

using Operation = monitor::Operation;

TEST(LatenessTest, WhoWaitedLeastCameLast) {
  std::vector<Ledger::Entry> entries(3);
  for (size_t i = 0; i < 3; ++i) {
    entries[i].sequence = 100 + i;
    entries[i].operation = i == 1 ? Operation::kAllGather : Operation::kReduceScatter;
  }
  const at::Tensor waits = at::tensor({0.050f, 0.0004f, 0.001f,   // rank 0
                                       0.010f, 0.0000f, 0.090f,   // rank 1: 40 ms, none, none
                                       0.048f, 0.0001f, 0.011f})  // rank 2
                               .view({3, 3});
  const std::vector<monitor::LateArrival> late = FindLate(entries, waits);
  ASSERT_EQ(late.size(), 2u);
  EXPECT_EQ(late[0].rank, 0);
  EXPECT_EQ(late[0].operation, Operation::kReduceScatter);
  EXPECT_EQ(late[0].ordinal, 2);
  EXPECT_EQ(late[0].collective, 102u);
  EXPECT_NEAR(late[0].seconds, 0.089, 1e-6);
  EXPECT_EQ(late[1].rank, 1);
  EXPECT_EQ(late[1].ordinal, 1);
  EXPECT_NEAR(late[1].seconds, 0.040, 1e-6);
}

TEST(LatenessTest, TellsOfTheStepBefore) {
  const auto comm = MakeSingleComm();
  Lateness lateness(*comm);
  comm->Barrier();
  EXPECT_TRUE(lateness.Exchange().empty());
  EXPECT_TRUE(lateness.Exchange().empty());  // alone, nobody is late
  EXPECT_EQ(comm->sequence(), 3u);
}

}  // namespace
}  // namespace contrail::worker
