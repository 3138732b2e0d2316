#include "launcher/arrival.h"

#include <gmock/gmock.h>

#include <functional>

namespace contrail::launcher {
namespace {

using Late = ArrivalWatch::Late;

constexpr ArrivalWatch::Limits kSmall = {
    .hang_seconds = 5, .start_seconds = 20, .collective_seconds = 100};

// mpirun and two ranks, looked at twice a second.
struct Start {
  std::optional<Late> Pass(double seconds, const std::function<void()>& each = {}) {
    const double end = awake + seconds;
    while (awake < end) {
      awake += 0.5;
      if (each) each();
      if (auto late = watch.Look(starters, shown, awake)) return late;
    }
    return std::nullopt;
  }
  Starter& rank(size_t i) { return starters.at(i + 1); }

  ArrivalWatch watch{kSmall};
  std::vector<Starter> starters = {{.pid = 10, .state = 'S'},
                                   {.pid = 11, .rank = 0, .state = 'S'},
                                   {.pid = 12, .rank = 1, .state = 'S'}};
  size_t shown = 0;
  double awake = 0;
};

TEST(ArrivalWatch, AStartThatMovesTakesAsLongAsItLikes) {
  Start start;
  EXPECT_FALSE(start.Pass(1000, [&] {
    ++start.rank(0).moved;
    ++start.rank(1).moved;
  }));
}

// Libraries come in slowly: a page now and then.
TEST(ArrivalWatch, AFewSignsAreEnough) {
  Start start;
  for (int i = 0; i < 30; ++i) {
    ++start.rank(0).moved;
    ++start.rank(1).moved;
    EXPECT_FALSE(start.Pass(19));
  }
}

TEST(ArrivalWatch, ARankWithoutASignIsNamedThoughTheOthersWaitForIt) {
  Start start;
  const auto late = start.Pass(100, [&] {
    start.rank(0).cpu += 0.01;
    ++start.rank(0).moved;
  });
  ASSERT_TRUE(late);
  ASSERT_NE(late->who, nullptr);
  EXPECT_EQ(late->who->rank, 1);
  EXPECT_NEAR(late->silent, 20, 1);
}

TEST(ArrivalWatch, RanksThatAllOnlyWaitHaveAnEnd) {
  Start start;
  const auto late = start.Pass(1000, [&] {
    start.rank(0).cpu += 0.01;
    start.rank(1).cpu += 0.01;
  });
  ASSERT_TRUE(late);
  EXPECT_EQ(late->who, nullptr);
  EXPECT_NEAR(late->silent, 100, 1);
}

TEST(ArrivalWatch, AWaitingRankIsNotBlamedWhileAnotherMoves) {
  Start start;
  EXPECT_FALSE(start.Pass(1000, [&] {
    start.rank(0).cpu += 0.01;  // waits, asking again and again
    ++start.rank(1).moved;
  }));
}

TEST(ArrivalWatch, AStoppedRankIsNotWaitedForLong) {
  Start start;
  start.rank(1).state = 'T';
  const auto late = start.Pass(100, [&] { ++start.rank(0).moved; });
  ASSERT_TRUE(late && late->who);
  EXPECT_EQ(late->who->rank, 1);
  EXPECT_NEAR(late->silent, 5, 1);
}

TEST(ArrivalWatch, MpirunThatStartsNothingIsEnded) {
  Start start;
  start.starters.resize(1);
  EXPECT_FALSE(start.Pass(50, [&] { start.starters[0].cpu += 0.1; }));
  const auto late = start.Pass(100);
  ASSERT_TRUE(late);
  EXPECT_EQ(late->who, nullptr);
  EXPECT_NEAR(late->silent, 20, 1);
}

// mpirun sleeps all the time: it is the ranks that count, as soon as there are some.
TEST(ArrivalWatch, ASleepingMpirunIsNoSign) {
  Start start;
  start.starters.resize(2);
  EXPECT_FALSE(start.Pass(200, [&] { ++start.starters[1].moved; }));
}

}  // namespace
}  // namespace contrail::launcher
