// Sums and gathers of many ranks, in stages, tried with few: beside the direct exchange of the same
// ranks, and against sums in fp64.

#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "common/rng.h"
#include "tests/multiproc/collectives/mpi_main.h"
#include "worker/comm/halving_plan.h"
#include "worker/comm/mpi_backend.h"
#include "worker/comm/mpi_reduce.h"

namespace contrail::worker {
namespace {

const at::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf,
                                 at::kInt,   at::kLong,   at::kByte};
const int64_t kCounts[] = {1, 5, 1000, 12007};
const int64_t kSlices[] = {1, 5, 2003};

const MpiLimits kStaged = {.direct_ranks = 0};

int Size() { return World().size(); }
int Rank() { return World().rank(); }

at::Tensor Values(int rank, int64_t count, at::ScalarType type) {
  RandomStream draws(31, static_cast<uint64_t>(rank), static_cast<uint64_t>(count));
  at::Tensor values = at::empty({count}, at::kDouble);
  for (int64_t i = 0; i < count; ++i) {
    values.data_ptr<double>()[i] = static_cast<double>(draws.NextBelow(1 << 20)) / 7 - 70000;
  }
  if (type == at::kHalf) values /= 64;
  return type == at::kByte ? values.abs().remainder(200).to(type) : values.to(type);
}

at::ScalarType SumType(at::ScalarType type) {
  return type == at::kBFloat16 || type == at::kHalf ? at::kFloat : type;
}

// This rank's slice of the sum as the plan forms it, from every rank's values for it, by going
// through all ranks' stages here.
at::Tensor SumByPlan(std::vector<at::Tensor> sums) {
  const auto size = static_cast<int>(sums.size());
  std::vector<std::vector<HalvingStage>> plans;
  for (int r = 0; r < size; ++r) plans.push_back(PlanHalving(r, size));
  for (size_t i = 0; i < plans[0].size(); ++i) {
    const std::vector<at::Tensor> before = sums;
    for (int r = 0; r < size; ++r) {
      const HalvingStage& stage = plans[r][i];
      if (std::find(stage.take.begin(), stage.take.end(), Rank()) == stage.take.end()) continue;
      sums[r] = before[r] + before[stage.from];
    }
  }
  return sums[Rank()];
}

at::Tensor OwnSlice(const at::Tensor& tensor) {
  const std::vector<int64_t> begin = EqualSlices(tensor.numel(), Size());
  return tensor.narrow(0, begin[Rank()], begin[Rank() + 1] - begin[Rank()]);
}

at::Tensor OwnSum(int64_t count, at::ScalarType type) {
  std::vector<at::Tensor> values;
  for (int r = 0; r < Size(); ++r) {
    values.push_back(OwnSlice(Values(r, count, type)).to(SumType(type)));
  }
  return SumByPlan(values).to(type);
}

void ExpectNearFp64(const at::Tensor& sum, int64_t count, at::ScalarType type) {
  if (!at::isFloatingType(type)) return;
  at::Tensor exact = at::zeros({count}, at::kDouble);
  at::Tensor size = at::zeros({count}, at::kDouble);
  for (int r = 0; r < Size(); ++r) {
    const at::Tensor values = Values(r, count, type).to(at::kDouble);
    exact += values;
    size += values.abs();
  }
  // One rounding at the end, and fp32's in every stage.
  const double last = type == at::kBFloat16 ? 1.0 / 256 : type == at::kHalf ? 1.0 / 2048 : 0;
  const double stages = type == at::kDouble ? 1e-15 : 1e-6;
  const at::Tensor error = (sum.to(at::kDouble) - exact).abs();
  EXPECT_TRUE((error <= exact.abs() * last + size * stages).all().item<bool>()) << type;
}

TEST(Halving, AllReduceIsTheSumOfTheTreeBitForBit) {
  MpiBackend backend(MPI_COMM_WORLD, kStaged);
  for (at::ScalarType type : kTypes) {
    for (int64_t count : kCounts) {
      std::vector<at::Tensor> tensors = {Values(Rank(), count, type)};
      const bool small = static_cast<int64_t>(tensors[0].nbytes()) * Size() <= 64 << 10;
      backend.allreduce(tensors, {})->wait();
      if (!small) {
        EXPECT_TRUE(at::equal(OwnSlice(tensors[0]), OwnSum(count, type))) << type << " x " << count;
      }
      ExpectNearFp64(tensors[0], count, type);
      at::Tensor of_root = tensors[0].clone();
      World().Broadcast(of_root, 0);
      EXPECT_TRUE(at::equal(of_root, tensors[0])) << "ranks differ: " << type << " x " << count;
    }
  }
}

TEST(Halving, SmallSumsAndWholeNumbersAreThoseOfTheDirectExchange) {
  MpiBackend staged(MPI_COMM_WORLD, kStaged);
  MpiBackend direct(MPI_COMM_WORLD);
  for (at::ScalarType type : kTypes) {
    for (int64_t count : {int64_t{3}, int64_t{200}, int64_t{70001}}) {
      if (at::isFloatingType(type) && count > 200) continue;  // other bits, by another order
      std::vector<at::Tensor> a = {Values(Rank(), count, type)};
      std::vector<at::Tensor> b = {a[0].clone()};
      staged.allreduce(a, {})->wait();
      direct.allreduce(b, {})->wait();
      EXPECT_TRUE(at::equal(a[0], b[0])) << type << " x " << count;
    }
  }
}

TEST(Halving, ReduceScatterGivesTheOwnSliceAndLeavesTheInput) {
  MpiBackend backend(MPI_COMM_WORLD, kStaged);
  for (at::ScalarType type : kTypes) {
    for (int64_t slice : kSlices) {
      at::Tensor in = Values(Rank(), slice * Size(), type);
      const at::Tensor expected = OwnSum(slice * Size(), type);
      at::Tensor out = at::zeros({slice}, type);
      backend._reduce_scatter_base(out, in, {})->wait();
      EXPECT_TRUE(at::equal(out, expected)) << type << " x " << slice;
      EXPECT_TRUE(at::equal(in, Values(Rank(), slice * Size(), type))) << "input changed";
      at::Tensor own = in.narrow(0, Rank() * slice, slice);
      backend._reduce_scatter_base(own, in, {})->wait();
      EXPECT_TRUE(at::equal(own, expected)) << type << " x " << slice << " in place";
    }
  }
}

TEST(Halving, ValuesMayTravelAsBFloat16) {
  MpiBackend backend(MPI_COMM_WORLD, kStaged);
  const int64_t slice = 7001;
  std::vector<at::Tensor> rounded;
  for (int r = 0; r < Size(); ++r) {
    const at::Tensor values = OwnSlice(Values(r, slice * Size(), at::kFloat) / 3);
    rounded.push_back(values.to(at::kBFloat16).to(at::kFloat));
  }
  const at::Tensor expected = SumByPlan(rounded);
  const at::Tensor in = Values(Rank(), slice * Size(), at::kFloat) / 3;
  at::Tensor own = in.narrow(0, Rank() * slice, slice);
  backend.ReduceScatter(own, in, Wire::kBFloat16, /*async=*/true)->wait();
  EXPECT_TRUE(at::equal(own, expected));
}

TEST(Halving, GathersKeepRankOrder) {
  MpiBackend backend(MPI_COMM_WORLD, kStaged);
  for (at::ScalarType type : kTypes) {
    for (int64_t slice : kSlices) {
      at::Tensor out = at::zeros({Size() * slice}, type);
      at::Tensor in = Values(Rank(), slice, type);
      backend._allgather_base(out, in, {})->wait();
      at::Tensor in_place = at::zeros({Size() * slice}, type);
      at::Tensor own = in_place.narrow(0, Rank() * slice, slice).copy_(in);
      backend._allgather_base(in_place, own, {})->wait();
      for (int r = 0; r < Size(); ++r) {
        EXPECT_TRUE(at::equal(out.narrow(0, r * slice, slice), Values(r, slice, type)));
      }
      EXPECT_TRUE(at::equal(out, in_place));
    }
  }
}

TEST(Halving, ChunksAndLateRanksChangeNoBit) {
  at::Tensor first;
  RandomStream draws(5, static_cast<uint64_t>(Rank()), 0);
  const int64_t count = 20011;
  for (const int64_t chunk : {1 << 16, 1 << 16, 1 << 16, 70, 1000}) {
    MpiBackend backend(
        MPI_COMM_WORLD,
        {.max_count = chunk <= 1000 ? 4096 : 1 << 30, .chunk_elements = chunk, .direct_ranks = 0});
    std::this_thread::sleep_for(std::chrono::milliseconds(draws.NextBelow(6)));
    at::Tensor in = Values(Rank(), count * Size(), at::kFloat);
    at::Tensor out = at::empty({count}, at::kFloat);
    backend._reduce_scatter_base(out, in, {})->wait();
    at::Tensor whole = at::empty_like(in);
    backend._allgather_base(whole, out, {})->wait();
    if (!first.defined()) first = whole;
    EXPECT_TRUE(at::equal(whole, first)) << chunk;
  }
}

int64_t CeilLog2(int64_t n) {
  int64_t log = 0;
  while ((int64_t{1} << log) < n) ++log;
  return log;
}

// A step's collectives, one after the other; how many messages each cost this rank.
std::vector<int64_t> MessagesOfAStep(MpiBackend& backend, int64_t slice) {
  backend.ledger().TakeFinished();
  at::Tensor in = at::ones({slice * Size()}, at::kFloat);
  at::Tensor own = in.narrow(0, Rank() * slice, slice);
  std::vector<at::Tensor> small = {at::ones({2}, at::kDouble)};
  backend.ReduceScatter(own, in, Wire::kAsStored, true)->wait();
  backend._allgather_base(in, own, {})->wait();
  backend.allreduce(small, {})->wait();
  std::vector<int64_t> messages;
  for (const Ledger::Entry& entry : backend.ledger().TakeFinished()) {
    messages.push_back(entry.messages);
  }
  return messages;
}

TEST(Halving, MessagesAStepAreBoundedByTheLogarithmOfTheRanks) {
  const int64_t chunk = 1 << 16;
  const int64_t slice = 3 * chunk - 5;  // three rounds
  MpiBackend staged(MPI_COMM_WORLD, {.chunk_elements = chunk, .direct_ranks = 0});
  MpiBackend direct(MPI_COMM_WORLD, {.chunk_elements = chunk});
  const int64_t stages = CeilLog2(Size());
  EXPECT_EQ(MessagesOfAStep(staged, slice), (std::vector<int64_t>{3 * stages, stages, stages}));
  EXPECT_EQ(MessagesOfAStep(direct, slice)[0], 3 * (Size() - 1));
}

}  // namespace
}  // namespace contrail::worker
