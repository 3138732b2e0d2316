#include <gtest/gtest.h>

#include "worker/comm/comm.h"

namespace contrail::worker {
namespace {

TEST(SingleComm, CollectivesAreTheIdentityAndNumbered) {
  const auto comm = MakeSingleComm();
  std::vector<std::string> seen;
  comm->ledger().SetObserver([&](const Ledger::Standing& now) {
    seen.push_back(std::to_string(now.entered) + " " + std::to_string(now.done) + " " +
                   OperationName(now.oldest_unfinished));
  });
  const at::Tensor in = at::arange(6, at::kFloat);
  at::Tensor out = at::zeros({6}, at::kFloat);
  comm->AllReduceSum(out);
  comm->ReduceScatterSum(out, in);
  EXPECT_TRUE(at::equal(out, in));
  at::Tensor gathered = at::zeros({2, 3}, at::kFloat);
  comm->AllGather(gathered, in);
  EXPECT_TRUE(at::equal(gathered.flatten(), in));
  comm->Broadcast(out, 0);
  comm->Barrier();
  EXPECT_EQ(seen, (std::vector<std::string>{"1 0 allreduce", "1 1 ", "2 1 reduce_scatter", "2 2 ",
                                            "3 2 allgather", "3 3 ", "4 3 broadcast", "4 4 ",
                                            "5 4 barrier", "5 5 "}));
  EXPECT_EQ(comm->sequence(), 5u);
}

TEST(SingleComm, StartedOnesAreDoneAtOnce) {
  const auto comm = MakeSingleComm();
  const at::Tensor in = at::arange(6, at::kFloat) / 7;
  at::Tensor out = at::zeros({6}, at::kFloat);
  Pending pending = comm->StartAllGather(out, in);
  EXPECT_TRUE(pending.done());
  EXPECT_TRUE(at::equal(out, in));
  comm->StartReduceScatterSum(out, in, Wire::kBFloat16).Wait();
  EXPECT_TRUE(at::equal(out, in.to(at::kBFloat16).to(at::kFloat)));
  comm->StartAllReduceSum(out).Wait();
  EXPECT_EQ(comm->ledger().TakeFinished().size(), 3u);
  EXPECT_EQ(comm->ledger().TakeFinished().size(), 0u);
}

TEST(SingleComm, Text) {
  const auto comm = MakeSingleComm();
  EXPECT_EQ(comm->AllGatherText("héllo\n"), std::vector<std::string>{"héllo\n"});
  EXPECT_EQ(comm->AllGatherText(""), std::vector<std::string>{""});
  EXPECT_EQ(comm->BroadcastText("abc", 0), "abc");
  EXPECT_EQ(comm->BroadcastText("", 0), "");
}

TEST(SingleComm, WrongRootIsABug) {
  EXPECT_ANY_THROW(MakeSingleComm()->Broadcast(at::zeros({1}), 3));
}

}  // namespace
}  // namespace contrail::worker
