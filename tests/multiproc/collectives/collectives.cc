// The collectives over real MPI ranks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <chrono>
#include <thread>

#include "common/error.h"
#include "common/rng.h"
#include "tests/multiproc/collectives/mpi_main.h"
#include "worker/comm/mpi_backend.h"

namespace contrail::worker {
namespace {

const at::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf,
                                 at::kInt,   at::kLong,   at::kByte};
const int64_t kCounts[] = {1, 2, 5, 16, 1000, 30001, 300007};  // small path, both sides of chunks

// What rank `rank` contributes; every rank can compute all of them.
at::Tensor Values(int rank, int64_t count, at::ScalarType type) {
  RandomStream draws(99, static_cast<uint64_t>(rank), static_cast<uint64_t>(count));
  at::Tensor values = at::empty({count}, at::kDouble);
  for (int64_t i = 0; i < count; ++i) {
    values.data_ptr<double>()[i] = static_cast<double>(draws.NextBelow(1 << 20)) / 7 - 70000;
  }
  if (type == at::kHalf) values /= 64;  // its largest number is 65,504
  return type == at::kByte ? values.abs().remainder(200).to(type) : values.to(type);
}

// ((x_0 + x_1) + x_2) + ...: the promised order; 16-bit types in fp32, rounded once.
at::Tensor SumInRankOrder(int64_t count, at::ScalarType type) {
  const at::ScalarType sum_type = type == at::kBFloat16 || type == at::kHalf ? at::kFloat : type;
  at::Tensor sum = Values(0, count, type).to(sum_type);
  for (int rank = 1; rank < World().size(); ++rank) sum += Values(rank, count, type).to(sum_type);
  return sum.to(type);
}

void SleepMs(int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST(Collectives, AllReduceIsTheSumInRankOrderBitForBit) {
  for (at::ScalarType type : kTypes) {
    for (int64_t count : kCounts) {
      at::Tensor tensor = Values(World().rank(), count, type);
      World().AllReduceSum(tensor);
      EXPECT_TRUE(at::equal(tensor, SumInRankOrder(count, type))) << type << " x " << count;
    }
  }
}

TEST(Collectives, ReduceScatterGivesTheOwnSliceBitForBit) {
  const int size = World().size();
  for (at::ScalarType type : kTypes) {
    for (int64_t slice : kCounts) {
      const at::Tensor in = Values(World().rank(), slice * size, type);
      const at::Tensor expected =
          SumInRankOrder(slice * size, type).narrow(0, World().rank() * slice, slice);
      at::Tensor out = at::zeros({slice}, type);
      World().ReduceScatterSum(out, in);
      EXPECT_TRUE(at::equal(out, expected)) << type << " x " << slice;
      EXPECT_TRUE(at::equal(in, Values(World().rank(), slice * size, type))) << "input changed";
      // In place: the result in the input's own slice.
      at::Tensor own = in.narrow(0, World().rank() * slice, slice);
      World().ReduceScatterSum(own, in);
      EXPECT_TRUE(at::equal(own, expected)) << type << " x " << slice << " in place";
    }
  }
}

TEST(Collectives, AllGatherKeepsRankOrder) {
  const int size = World().size();
  for (at::ScalarType type : kTypes) {
    for (int64_t slice : kCounts) {
      at::Tensor out = at::zeros({size * slice}, type);
      World().AllGather(out, Values(World().rank(), slice, type));
      at::Tensor in_place = at::zeros({size * slice}, type);
      at::Tensor own = in_place.narrow(0, World().rank() * slice, slice);
      own.copy_(Values(World().rank(), slice, type));
      World().AllGather(in_place, own);
      for (int rank = 0; rank < size; ++rank) {
        const at::Tensor expected = Values(rank, slice, type);
        EXPECT_TRUE(at::equal(out.narrow(0, rank * slice, slice), expected));
        EXPECT_TRUE(at::equal(in_place.narrow(0, rank * slice, slice), expected));
      }
    }
  }
}

TEST(Collectives, BroadcastFromEveryRank) {
  for (int root = 0; root < World().size(); ++root) {
    at::Tensor tensor = Values(World().rank(), 777, at::kFloat);
    World().Broadcast(tensor, root);
    EXPECT_TRUE(at::equal(tensor, Values(root, 777, at::kFloat)));
  }
}

TEST(Collectives, EmptyAndShapedTensors) {
  at::Tensor empty = at::empty({0}, at::kFloat);
  World().AllReduceSum(empty);
  at::Tensor none = at::empty({0}, at::kFloat);
  World().ReduceScatterSum(none, empty);
  World().AllGather(empty, none);
  at::Tensor matrix = at::ones({3, 4}, at::kFloat);
  World().AllReduceSum(matrix);
  EXPECT_TRUE(at::equal(matrix, at::full({3, 4}, World().size(), at::kFloat)));
}

TEST(Collectives, RepeatedRunsWithLateRanksAgreeBitForBit) {
  const at::Tensor in = Values(World().rank(), 64 * 1000 * World().size(), at::kFloat);
  at::Tensor first;
  RandomStream draws(5, static_cast<uint64_t>(World().rank()), 0);
  for (int run = 0; run < 8; ++run) {
    SleepMs(static_cast<int64_t>(draws.NextBelow(6)));
    at::Tensor out = at::empty({64 * 1000}, at::kFloat);
    World().ReduceScatterSum(out, in);
    if (run == 0) first = out;
    EXPECT_TRUE(at::equal(out, first));
  }
}

// The chunked forms, which only huge tensors take otherwise.
TEST(Collectives, MoreElementsThanOneCallMayCarry) {
  MpiBackend backend(MPI_COMM_WORLD, {.max_count = 70, .chunk_elements = 3});
  const int size = backend.getSize();
  const int rank = backend.getRank();
  std::vector<at::Tensor> tensors = {Values(rank, 50003, at::kDouble)};
  backend.allreduce(tensors, {})->wait();
  EXPECT_TRUE(at::equal(tensors[0], SumInRankOrder(50003, at::kDouble)));

  at::Tensor in = Values(rank, size * 211, at::kFloat);
  at::Tensor out = at::empty({211}, at::kFloat);
  backend._reduce_scatter_base(out, in, {})->wait();
  EXPECT_TRUE(at::equal(out, SumInRankOrder(size * 211, at::kFloat).narrow(0, rank * 211, 211)));

  at::Tensor all = at::empty({size * 211}, at::kFloat);
  at::Tensor own = Values(rank, 211, at::kFloat);
  backend._allgather_base(all, own, {})->wait();
  at::Tensor in_place = at::empty({size * 211}, at::kFloat);
  own = in_place.narrow(0, rank * 211, 211).copy_(own);
  backend._allgather_base(in_place, own, {})->wait();
  for (int q = 0; q < size; ++q) {
    EXPECT_TRUE(at::equal(all.narrow(0, q * 211, 211), Values(q, 211, at::kFloat)));
  }
  EXPECT_TRUE(at::equal(all, in_place));

  tensors = {Values(rank, 500, at::kLong)};
  backend.broadcast(tensors, {})->wait();
  EXPECT_TRUE(at::equal(tensors[0], Values(0, 500, at::kLong)));
  EXPECT_EQ(backend.getSequenceNumberForGroup(), 5u);
}

TEST(Collectives, Text) {
  std::string mine(static_cast<size_t>(World().rank()) * 1000, 'x');
  mine += "rank " + std::to_string(World().rank());
  const std::vector<std::string> all = World().AllGatherText(mine);
  ASSERT_EQ(static_cast<int>(all.size()), World().size());
  for (int rank = 0; rank < World().size(); ++rank) {
    EXPECT_EQ(all[rank],
              std::string(static_cast<size_t>(rank) * 1000, 'x') + "rank " + std::to_string(rank));
  }
  const int last = World().size() - 1;
  EXPECT_EQ(World().BroadcastText(mine, last), all[last]);
  EXPECT_EQ(World().BroadcastText(World().rank() == 0 ? "" : "ignored", 0), "");
  EXPECT_EQ(World().AllGatherText("").size(), all.size());
}

TEST(Collectives, NodesOfThisMachine) {
  EXPECT_EQ(World().local_rank(), World().rank());
  EXPECT_EQ(World().node_of_rank(), std::vector<int>(World().size(), 0));
  EXPECT_TRUE(StartedByMpi());
}

TEST(Collectives, NumberedAlikeOnAllRanks) {
  std::vector<Ledger::Standing> seen;
  const uint64_t before = World().sequence();
  World().ledger().SetObserver([&](const Ledger::Standing& now) { seen.push_back(now); });
  World().Barrier();
  World().ledger().SetObserver(nullptr);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].entered, before + 1);
  EXPECT_EQ(seen[0].done, before);
  EXPECT_EQ(seen[0].oldest_unfinished, Ledger::Operation::kBarrier);
  EXPECT_EQ(seen[1].done, before + 1);
  EXPECT_EQ(seen[1].oldest_unfinished, Ledger::Operation::kNone);
  for (const std::string& text : World().AllGatherText(std::to_string(before))) {
    EXPECT_EQ(text, std::to_string(before));
  }
}

TEST(Collectives, TheLateRankIsTheOneThatDoesNotWait) {
  if (World().size() == 1) return;
  World().Barrier();
  const double before = World().ledger().waiting_seconds();
  const bool late = World().rank() == World().size() - 1;
  if (late) SleepMs(200);
  World().Barrier();
  const double waited = World().ledger().waiting_seconds() - before;
  if (late) {
    EXPECT_LT(waited, 0.1);
  } else {
    EXPECT_GT(waited, 0.15);
  }
}

TEST(Collectives, FailureNamesOperationNumberAndRank) {
  const uint64_t number = World().sequence() + 1;
  try {
    World().Broadcast(at::zeros({4}, at::kFloat), World().size() + 3);  // no such root
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.id(), "E-MPI-COLLECTIVE");
    EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
    EXPECT_THAT(error.what(), testing::HasSubstr("rank " + std::to_string(World().rank())));
    EXPECT_THAT(error.what(), testing::HasSubstr("broadcast number " + std::to_string(number)));
    EXPECT_THAT(error.what(), testing::HasSubstr("MPI_ERR_ROOT"));
  }
  World().Barrier();  // still usable
}

TEST(Collectives, WrongSizesAndTypesAreBugs) {
  at::Tensor out = at::zeros({4}, at::kFloat);
  EXPECT_ANY_THROW(World().AllGather(out, at::zeros({5}, at::kFloat)));
  EXPECT_ANY_THROW(World().AllGather(at::zeros({World().size() * 4}, at::kDouble), out));
  EXPECT_ANY_THROW(World().AllReduceSum(at::zeros({4, 4}, at::kFloat).t().narrow(0, 0, 2)));
}

}  // namespace
}  // namespace contrail::worker
