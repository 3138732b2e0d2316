#include "data/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "data/permutation.h"

namespace contrail::data {
namespace {

std::vector<uint64_t> Epoch(const SampleOrder& order, uint64_t epoch) {
  std::vector<uint64_t> samples;
  for (uint64_t i = 0; i < order.size(); ++i) samples.push_back(order.At(epoch, i));
  return samples;
}

bool IsBijection(std::vector<uint64_t> samples) {
  std::sort(samples.begin(), samples.end());
  for (uint64_t i = 0; i < samples.size(); ++i) {
    if (samples[i] != i) return false;
  }
  return true;
}

TEST(Permutation, BijectionForEverySmallSizeAndSomeLarge) {
  for (uint64_t size = 1; size <= 600; ++size) {
    std::vector<uint64_t> out;
    const Permutation permute(3, size, 1, size);
    for (uint64_t i = 0; i < size; ++i) out.push_back(permute(i));
    ASSERT_TRUE(IsBijection(out)) << size;
  }
  for (const uint64_t size :
       {uint64_t{65535}, uint64_t{65536}, uint64_t{65537}, uint64_t{1000003}}) {
    std::vector<uint64_t> out;
    const Permutation permute(3, 5, 1, size);
    for (uint64_t i = 0; i < size; ++i) out.push_back(permute(i));
    ASSERT_TRUE(IsBijection(out)) << size;
  }
}

// 3 items have 6 orders; each must come up about equally often over keys.
TEST(Permutation, TinySizesReachEveryOrderEvenly) {
  std::map<std::vector<uint64_t>, int> seen;
  for (uint64_t key = 0; key < 6000; ++key) {
    const Permutation permute(key, 0, 0, 3);
    ++seen[{permute(0), permute(1), permute(2)}];
  }
  ASSERT_EQ(seen.size(), 6u);
  for (const auto& [order, count] : seen) {
    EXPECT_GT(count, 850);  // 1000 +- 5 standard deviations
    EXPECT_LT(count, 1150);
  }
}

TEST(SampleOrder, BijectionForManyShapesWindowsAndEpochs) {
  const std::vector<std::vector<uint64_t>> shapes = {{1},
                                                     {7},
                                                     {1, 1, 1},
                                                     {5, 0, 3},
                                                     {100, 100, 37},
                                                     {1000},
                                                     {3, 200, 1, 50, 0, 9},
                                                     std::vector<uint64_t>(300, 3),
                                                     std::vector<uint64_t>(256, 1)};
  for (const auto& shape : shapes) {
    for (const uint64_t window : {1, 2, 10, 64, 1000000}) {
      for (const OrderKind kind : {OrderKind::kInterleaved, OrderKind::kWindows}) {
        const SampleOrder order(9, shape, window, kind);
        EXPECT_EQ(order.size(), std::accumulate(shape.begin(), shape.end(), uint64_t{0}));
        for (uint64_t epoch = 0; epoch < 4; ++epoch) {
          ASSERT_TRUE(IsBijection(Epoch(order, epoch)))
              << shape.size() << " shards, window " << window;
        }
      }
    }
  }
}

TEST(SampleOrder, DiffersBetweenSeedsAndEpochsAndOnlyThose) {
  const std::vector<uint64_t> shards(10, 100);
  const SampleOrder order(1, shards, 256);
  EXPECT_NE(Epoch(order, 0), Epoch(order, 1));
  EXPECT_NE(Epoch(order, 0), Epoch(SampleOrder(2, shards, 256), 0));
  EXPECT_EQ(Epoch(order, 3), Epoch(SampleOrder(1, shards, 256), 3));
  // Whatever was asked before, in whatever direction.
  const std::vector<uint64_t> forward = Epoch(order, 2);
  const SampleOrder fresh(1, shards, 256);
  for (uint64_t i = order.size(); i-- > 0;) {
    fresh.At(i % 5, i);
    ASSERT_EQ(fresh.At(2, i), forward[i]);
  }
}

// These numbers are the training order of every run ever started: they must never change.
TEST(SampleOrder, IsFrozen) {
  const auto first_of = [](const SampleOrder& order) {
    std::vector<uint64_t> first;
    for (uint64_t i = 0; i < 10; ++i) first.push_back(order.At(0, i));
    return first;
  };
  EXPECT_EQ(first_of(SampleOrder(0, {10, 10, 10}, 8, OrderKind::kWindows)),
            (std::vector<uint64_t>{17, 16, 11, 15, 12, 13, 14, 10, 22, 18}));
  EXPECT_EQ(first_of(SampleOrder(0, {10, 10, 10}, 8, OrderKind::kInterleaved)),
            (std::vector<uint64_t>{17, 0, 15, 3, 23, 20, 25, 12, 10, 6}));
}

// Shards of many sizes: whatever the window, it takes of 256 of them.
TEST(SampleOrder, EveryWindowAndEveryBatchDrawOnManyShards) {
  std::vector<uint64_t> sizes;
  std::vector<uint64_t> shard_of;
  for (uint64_t shard = 0; shard < 400; ++shard) {
    sizes.push_back(500 + shard * 37 % 1000);
    shard_of.insert(shard_of.end(), sizes.back(), shard);
  }
  constexpr uint64_t kWindow = 32'000;
  constexpr uint64_t kBatch = 2'000;
  const SampleOrder order(5, sizes, kWindow);
  for (const uint64_t epoch : {0, 1}) {
    for (uint64_t start = 0; start + kWindow <= order.size(); start += kWindow) {
      std::set<uint64_t> in_window;
      for (uint64_t batch = start; batch < start + kWindow; batch += kBatch) {
        std::set<uint64_t> in_batch;
        for (uint64_t i = batch; i < batch + kBatch; ++i) {
          in_batch.insert(shard_of[order.At(epoch, i)]);
        }
        EXPECT_GE(in_batch.size(), 240u);  // 2000 draws from 256 shards leave out 0.1 of them
        in_window.insert(in_batch.begin(), in_batch.end());
      }
      EXPECT_GE(in_window.size(), kInterleavedShards);
      EXPECT_LE(in_window.size(), 2 * kInterleavedShards);  // so many are open
    }
  }
}

// Windows neither begin at the same samples each epoch, nor run through a big shard in file order.
TEST(SampleOrder, OneBigShardIsDrawnFromAllOver) {
  const SampleOrder order(5, {100'000}, 1'000);
  for (const uint64_t epoch : {0, 1}) {
    for (uint64_t start = 0; start < 100'000; start += 1'000) {
      std::set<uint64_t> tenths;
      for (uint64_t i = start; i < start + 100; ++i) tenths.insert(order.At(epoch, i) / 10'000);
      EXPECT_GE(tenths.size(), 9u);
    }
  }
}

// 20 shards, sorted by class, as a folder of classes packed in its order: a batch has nearly all.
TEST(SampleOrder, ABatchOfAClassSortedSetHasItsClasses) {
  const auto classes_of_first_batch = [](OrderKind kind) {
    const SampleOrder order(3, std::vector<uint64_t>(20, 500), 1'000, kind);
    std::set<uint64_t> classes;
    for (uint64_t i = 0; i < 500; ++i) classes.insert(order.At(1, i) / 100);
    return classes.size();
  };
  EXPECT_EQ(classes_of_first_batch(OrderKind::kWindows), 10u);
  EXPECT_GE(classes_of_first_batch(OrderKind::kInterleaved), 97u);  // 99.3 of a full shuffle
}

// Whatever the shards, positions are as fast to find; 400 million samples fit in a few megabytes.
TEST(SampleOrder, FindsPlacesInLaion) {
  const SampleOrder order(1, std::vector<uint64_t>(41'408, 10'000), 524'288);
  std::set<uint64_t> shards;
  for (uint64_t i = 0; i < 32'768; ++i) {
    shards.insert(order.At(2, 300'000'000 + i) / 10'000);
  }
  EXPECT_GE(shards.size(), kInterleavedShards);
  EXPECT_LE(shards.size(), 320u);
}

TEST(SampleOrder, AWindowTouchesFewShards) {
  const SampleOrder order(5, std::vector<uint64_t>(1000, 100), 1000, OrderKind::kWindows);
  std::set<uint64_t> all;
  for (uint64_t start = 0; start < 100000; start += 1000) {
    std::set<uint64_t> shards;
    for (uint64_t i = start; i < start + 1000; ++i) shards.insert(order.At(0, i) / 100);
    EXPECT_EQ(shards.size(), 10u);  // 1000 samples from exactly the 10 shards they fill
    all.insert(shards.begin(), shards.end());
  }
  EXPECT_EQ(all.size(), 1000u);
}

// Inside a window neighbours are unrelated: the mean distance of consecutive samples of a uniform
// permutation of n is (n + 1) / 3.
TEST(SampleOrder, ShufflesWell) {
  const SampleOrder order(11, {100000}, 100000);
  double distance = 0;
  for (uint64_t i = 1; i < 100000; ++i) {
    const auto a = static_cast<double>(order.At(0, i - 1));
    const auto b = static_cast<double>(order.At(0, i));
    distance += std::abs(a - b);
  }
  EXPECT_NEAR(distance / 99999, 100001.0 / 3, 400);  // standard error about 75
}

TEST(SampleOrder, ThreadsShareIt) {
  const SampleOrder order(1, std::vector<uint64_t>(50, 20), 64);
  const std::vector<uint64_t> expected = Epoch(order, 7);
  std::vector<std::vector<uint64_t>> results(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Epoch(order, t);
      results[t] = Epoch(order, 7);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(BatchPosition, DropsTheTailOfAnEpoch) {
  EXPECT_EQ(StepsPerEpoch(103, 10), 10u);
  EXPECT_EQ(StepsPerEpoch(100, 10), 10u);
  EXPECT_EQ(StepsPerEpoch(9, 10), 0u);
  const BatchPosition last = PositionOfStep(9, 103, 10);
  EXPECT_EQ(last.epoch, 0u);
  EXPECT_EQ(last.first, 90u);
  const BatchPosition next = PositionOfStep(10, 103, 10);
  EXPECT_EQ(next.epoch, 1u);
  EXPECT_EQ(next.first, 0u);
}

}  // namespace
}  // namespace contrail::data
