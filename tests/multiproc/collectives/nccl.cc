// NCCL where there are devices, and what is said where there are none.

#include "worker/comm/nccl_comm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/cuda_part.h"
#include "tests/multiproc/collectives/mpi_main.h"

namespace contrail::worker {
namespace {

using testing::HasSubstr;

size_t Devices() {
  static const size_t count = model::FindCuda().devices.size();
  return count;
}
bool OneEach() { return Devices() >= static_cast<size_t>(World().size()); }

TEST(Nccl, SaysOnAllRanksWhyItDoesNotStart) {
  const int beyond = static_cast<int>(Devices());
  try {
    MakeNcclComm(MakeMpiComm(), beyond, 60);
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-NCCL-INIT");
    for (int rank = 0; rank < World().size(); ++rank) {
      EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(rank) + ": "));
    }
    EXPECT_THAT(error.what(),
                testing::AnyOf(HasSubstr("no CUDA device"), HasSubstr("this build has no NCCL")));
  }
}

TEST(Nccl, CollectivesOfCudaTensors) {
  if (!OneEach()) GTEST_SKIP() << "no device for every rank";
  const auto comm = MakeNcclComm(MakeMpiComm(), World().local_rank(), 60);
  const at::Device cuda(at::kCUDA, static_cast<c10::DeviceIndex>(World().local_rank()));
  constexpr int64_t kEach = 4096;
  const at::Tensor mine = at::arange(kEach * comm->size(), at::kFloat).remainder(97) *
                          static_cast<float>(comm->rank() + 1);
  at::Tensor expected = mine.clone();
  World().AllReduceSum(expected);

  at::Tensor sum = mine.to(cuda);
  comm->AllReduceSum(sum);
  EXPECT_TRUE(at::equal(sum.cpu(), expected));
  for (const Wire wire : {Wire::kAsStored, Wire::kBFloat16}) {
    at::Tensor part = at::empty({kEach}, sum.options());
    comm->StartReduceScatterSum(part, mine.to(cuda), wire).Wait();
    EXPECT_LE((part.cpu() - expected.slice(0, kEach * comm->rank(), kEach * (comm->rank() + 1)))
                  .abs()
                  .max()
                  .item<float>(),
              wire == Wire::kBFloat16 ? 4.0F : 0.0F);
    at::Tensor all = at::empty_like(sum);
    comm->StartAllGather(all, part).Wait();
    EXPECT_LE((all.cpu() - expected).abs().max().item<float>(),
              wire == Wire::kBFloat16 ? 4.0F : 0.0F);
  }
  EXPECT_EQ(comm->AllGatherText("host")[0], "host");
}

}  // namespace
}  // namespace contrail::worker
