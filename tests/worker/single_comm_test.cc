#include <gtest/gtest.h>

#include "worker/comm/comm.h"

namespace contrail::worker {
namespace {

TEST(SingleComm, CollectivesAreTheIdentityAndNumbered) {
  const auto comm = MakeSingleComm();
  std::vector<std::string> seen;
  comm->SetObserver([&](uint64_t sequence, const char* name, bool entering) {
    seen.push_back(std::to_string(sequence) + (entering ? " > " : " < ") + name);
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
  EXPECT_EQ(seen, (std::vector<std::string>{"1 > allreduce", "1 < allreduce", "2 > reduce_scatter",
                                            "2 < reduce_scatter", "3 > allgather", "3 < allgather",
                                            "4 > broadcast", "4 < broadcast", "5 > barrier",
                                            "5 < barrier"}));
  EXPECT_EQ(comm->sequence(), 5u);
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
