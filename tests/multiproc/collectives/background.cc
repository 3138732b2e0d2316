// Started collectives over real MPI ranks: in any mixture with blocking ones.

#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "common/error.h"
#include "common/rng.h"
#include "tests/multiproc/collectives/mpi_main.h"
#include "worker/comm/mpi_backend.h"
#include "worker/lateness.h"

namespace contrail::worker {
namespace {

void SleepMs(int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// What rank `rank` contributes to a draw; every rank can compute all of them.
at::Tensor Values(int rank, uint64_t draw, int64_t count, at::ScalarType type) {
  RandomStream draws(7, draw, static_cast<uint64_t>(rank));
  const auto base = static_cast<double>(draws.NextBelow(1000));
  return (at::arange(count, at::kDouble) * (rank + 1.37) + base).remainder(191).to(type);
}

at::Tensor Sum(uint64_t draw, int64_t count, at::ScalarType type) {
  const bool half = type == at::kBFloat16 || type == at::kHalf;
  at::Tensor sum = Values(0, draw, count, type).to(half ? at::kFloat : type);
  for (int r = 1; r < World().size(); ++r)
    sum += Values(r, draw, count, type).to(sum.scalar_type());
  return sum.to(type);
}

at::Tensor Gathered(uint64_t draw, int64_t count, at::ScalarType type) {
  std::vector<at::Tensor> all;
  for (int r = 0; r < World().size(); ++r) all.push_back(Values(r, draw, count, type));
  return at::cat(all);
}

// The same draw of operation, size, type and kind on every rank; waits and delays are each rank's
// own business.
TEST(Background, AnyMixtureGivesWhatTheBlockingOnesGive) {
  const at::ScalarType types[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf,
                                  at::kInt,   at::kLong,   at::kByte};
  struct Open {
    Pending pending;
    at::Tensor out, expected;
  };
  std::vector<Open> open;
  RandomStream shared(11, 0, 0);
  RandomStream own(12, static_cast<uint64_t>(World().rank()), 0);
  const auto finish = [&](size_t i) {
    open[i].pending.Wait();
    EXPECT_TRUE(at::equal(open[i].out, open[i].expected));
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
  };
  const int size = World().size();
  for (uint64_t draw = 0; draw < 150; ++draw) {
    const at::ScalarType type = types[shared.NextBelow(std::size(types))];
    const auto count = static_cast<int64_t>(shared.NextBelow(4) == 0 ? shared.NextBelow(40000)
                                                                     : shared.NextBelow(300));
    const uint64_t operation = shared.NextBelow(3);
    const bool started = shared.NextBelow(3) > 0;
    const bool in_place = shared.NextBelow(2) > 0;
    Open now;
    if (operation == 0) {
      now.out = Values(World().rank(), draw, count, type);
      now.expected = Sum(draw, count, type);
      if (started) now.pending = World().StartAllReduceSum(now.out);
      if (!started) World().AllReduceSum(now.out);
    } else if (operation == 1) {
      const at::Tensor in = Values(World().rank(), draw, count * size, type);
      now.out = in_place ? in.narrow(0, World().rank() * count, count) : at::empty({count}, type);
      now.expected = Sum(draw, count * size, type).narrow(0, World().rank() * count, count).clone();
      if (started) now.pending = World().StartReduceScatterSum(now.out, in);
      if (!started) World().ReduceScatterSum(now.out, in);
    } else {
      now.expected = Gathered(draw, count, type);
      now.out = at::empty({count * size}, type);
      at::Tensor in = Values(World().rank(), draw, count, type);
      if (in_place) in = now.out.narrow(0, World().rank() * count, count).copy_(in);
      if (started) now.pending = World().StartAllGather(now.out, in);
      if (!started) World().AllGather(now.out, in);
    }
    open.push_back(std::move(now));
    if (!started) finish(open.size() - 1);
    if (own.NextBelow(20) == 0) SleepMs(static_cast<int64_t>(own.NextBelow(4)));
    // Waits in any order, not the same on every rank.
    while (open.size() > own.NextBelow(8)) finish(own.NextBelow(open.size()));
  }
  while (!open.empty()) finish(0);
}

TEST(Background, NumbersFollowTheOrderOfIssueAndTheOldestUnfinishedShows) {
  World().Barrier();
  const uint64_t before = World().sequence();
  const bool late = World().size() > 1 && World().rank() == World().size() - 1;
  if (late) SleepMs(150);
  at::Tensor a = at::ones({1000}, at::kFloat);
  at::Tensor b = at::ones({World().size() * 10}, at::kFloat);
  Pending first = World().StartAllReduceSum(a);
  Pending second = World().StartAllGather(b, b.narrow(0, World().rank() * 10, 10));
  const Ledger::Standing now = World().ledger().standing();
  EXPECT_EQ(now.entered, before + 2);
  if (World().size() > 1 && !late) {
    EXPECT_EQ(now.done, before);
    EXPECT_EQ(now.oldest_unfinished, Ledger::Operation::kAllReduce);
    EXPECT_FALSE(second.done());
  }
  second.Wait();
  EXPECT_TRUE(first.done());
  first.Wait();
  first.Wait();  // once more does no harm
  EXPECT_EQ(World().ledger().standing().done, before + 2);
  for (const std::string& text : World().AllGatherText(std::to_string(before))) {
    EXPECT_EQ(text, std::to_string(before));
  }
}

TEST(Background, ValuesMayTravelAsBFloat16) {
  const int size = World().size();
  const int64_t slice = 70001;
  const at::Tensor in = Values(World().rank(), 5, slice * size, at::kFloat) / 3;
  at::Tensor sum = at::zeros({slice * size}, at::kFloat);
  for (int r = 0; r < size; ++r) {
    sum += (Values(r, 5, slice * size, at::kFloat) / 3).to(at::kBFloat16).to(at::kFloat);
  }
  at::Tensor own = in.narrow(0, World().rank() * slice, slice);  // in place
  World().StartReduceScatterSum(own, in, Wire::kBFloat16).Wait();
  EXPECT_TRUE(at::equal(own, sum.narrow(0, World().rank() * slice, slice)));
}

TEST(Background, AFailureReachesWhoeverWaits) {
  MpiBackend backend(MPI_COMM_WORLD);
  std::vector<at::Tensor> tensors = {at::zeros({4}, at::kFloat)};
  c10d::BroadcastOptions options;
  options.rootRank = World().size() + 3;  // no such root
  const auto broken = backend.broadcast(tensors, options);
  const auto after = backend.allreduce(tensors, {});
  for (const auto& work : {broken, after}) {
    try {
      work->wait();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-MPI-COLLECTIVE");
      EXPECT_NE(std::string(error.what()).find("broadcast number 1 "), std::string::npos)
          << error.what();
    }
    EXPECT_TRUE(work->isCompleted());
    EXPECT_FALSE(work->isSuccess());
  }
  World().Barrier();
}

// A barrier to which the last rank comes seconds later than the others have patience.
void ExpectTimeout(bool started) {
  MpiBackend backend(MPI_COMM_WORLD);
  const int last = World().size() - 1;
  c10d::BarrierOptions options;
  options.asyncOp = started;
  if (World().rank() == last) {
    SleepMs(3000);
    backend.barrier(options)->wait();  // all the others had come
  } else {
    backend.SetTimeout(0.5);
    try {
      backend.barrier(options)->wait();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-MPI-TIMEOUT");
      EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
      EXPECT_NE(std::string(error.what())
                    .find("barrier number 1 (0 bytes) waited for other ranks for 0.5 s; not "
                          "arrived: rank " +
                          std::to_string(last) + " (at number 0);"),
                std::string::npos)
          << error.what();
    }
  }
  World().Barrier();
}

TEST(Background, ATimeOutNamesWhoHasNotArrived) {
  if (World().size() == 1) return;
  ExpectTimeout(false);
  ExpectTimeout(true);
}

// Seconds of processor time of this process.
double ProcessorSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(Background, WaitingForALateRankTakesNoProcessorTime) {
  if (World().size() == 1) return;
  World().Barrier();
  const double before = ProcessorSeconds();
  const bool late = World().rank() == 0;
  if (late) SleepMs(600);
  const double own = ProcessorSeconds() - before;
  at::Tensor tensor = at::ones({1000}, at::kFloat);
  Pending pending = World().StartAllReduceSum(tensor);
  pending.Wait();
  if (late) return;
  EXPECT_LT(ProcessorSeconds() - before - own, 0.2);  // a third of the wait at most
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// A request, a Work or an entry that is never freed would show after thousands of them.
TEST(Background, NothingIsLeftBehind) {
  const int64_t n = 6000;
  at::Tensor sum = at::ones({n * World().size()}, at::kFloat);
  at::Tensor own = sum.narrow(0, World().rank() * n, n);
  const auto round = [&](int count) {
    for (int i = 0; i < count; ++i) {
      World().StartReduceScatterSum(own, sum, Wire::kBFloat16).Wait();
      World().StartAllGather(sum, own.fill_(1)).Wait();
    }
  };
  round(50);
  const int64_t before = ResidentBytes();
  round(400);
  EXPECT_LT(ResidentBytes() - before, 4 << 20);
}

TEST(Background, LateRanksShowInTheLedger) {
  if (World().size() == 1) return;
  World().Barrier();
  World().ledger().TakeFinished();
  const bool late = World().rank() == World().size() - 1;
  if (late) SleepMs(200);
  at::Tensor tensor = at::ones({5000}, at::kFloat);
  World().StartAllReduceSum(tensor).Wait();
  const std::vector<Ledger::Entry> entries = World().ledger().TakeFinished();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].sequence, World().sequence());
  EXPECT_EQ(entries[0].bytes, 20000);
  if (late) {
    EXPECT_LT(entries[0].waited, 0.1);
  } else {
    EXPECT_GT(entries[0].waited, 0.15);
  }
  World().Barrier();
}

TEST(Background, EveryRankLearnsWhoCameLate) {
  if (World().size() == 1) return;
  World().Barrier();
  World().ledger().TakeFinished();
  Lateness lateness(World());
  const int late = World().size() - 1;
  at::Tensor tensor = at::ones({5000}, at::kFloat);
  World().AllReduceSum(tensor);
  if (World().rank() == late) SleepMs(150);
  World().AllReduceSum(tensor);
  EXPECT_TRUE(lateness.Exchange().empty());
  const std::vector<monitor::LateArrival> told = lateness.Exchange();
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told[0].rank, late);
  EXPECT_EQ(told[0].operation, Ledger::Operation::kAllReduce);
  EXPECT_EQ(told[0].ordinal, 2);
  EXPECT_GT(told[0].seconds, 0.1);
  World().Barrier();
}

}  // namespace
}  // namespace contrail::worker
