#include "launcher/hang.h"

#include <gmock/gmock.h>

namespace contrail::launcher {
namespace {

using monitor::Phase;
using ::testing::HasSubstr;

// Four ranks in lock step; `Step` is one training step of two collectives.
class Job {
 public:
  explicit Job(HangDetector::Limits limits) : detector(limits, now) {
    for (int rank = 0; rank < 4; ++rank) {
      ranks.push_back({.rank = rank, .pid = 100 + rank, .phase = Phase::kStarting, .time = now});
    }
  }
  void Begin() {
    for (RankView& rank : ranks) rank.phase = Phase::kTraining;
  }
  std::optional<Hang> Step(double seconds) {
    if (auto hang = Pass(seconds)) return hang;
    for (RankView& rank : ranks) {
      ++rank.step;
      rank.collective += 2;
      rank.collective_done += 2;
      rank.time = now;
    }
    return Pass(0);
  }
  // Time passes, looked at ten times a second; what is found first.
  std::optional<Hang> Pass(double seconds) {
    const double end = now + seconds;
    do {
      now += std::min(0.1, end - now);
      if (auto hang = detector.Look(ranks, now, [this](int pid) { return states[pid - 100]; })) {
        return hang;
      }
    } while (now < end - 1e-9);
    return std::nullopt;
  }

  double now = 1000;
  HangDetector detector;
  std::vector<RankView> ranks;
  std::vector<char> states = {'S', 'S', 'S', 'S'};
};

TEST(HangDetector, HealthyStepsAreNeverAHang) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  EXPECT_FALSE(job.Pass(50));  // a slow start
  job.Begin();
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(job.Step(0.4)) << i;
  EXPECT_NEAR(job.detector.MedianStep(), 0.4, 1e-6);
}

TEST(HangDetector, TheRankBehindIsTheCulprit) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  job.Begin();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  job.states[2] = 'T';
  for (RankView& rank : job.ranks) {
    if (rank.rank == 2) continue;
    ++rank.collective;  // entered, never left
    rank.operation = monitor::Operation::kAllGather;
    rank.time = job.now;
  }
  const auto hang = job.Pass(20);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 2);
  EXPECT_FALSE(hang->starting);
  EXPECT_THAT(hang->detail,
              HasSubstr("rank 2 stopped (state T) before collective 21 (allgather), silent"));
  EXPECT_NEAR(job.now - hang->last_sign, 5, 0.5);
}

TEST(HangDetector, InsideTheSameCollectiveTheProcessStateTells) {
  for (const char state : {'T', 'D'}) {
    Job job({.hang_seconds = 5, .start_seconds = 60});
    job.Begin();
    for (int i = 0; i < 10; ++i) job.Step(0.4);
    for (RankView& rank : job.ranks) ++rank.collective;
    job.states = {'R', 'R', 'R', state};
    const auto hang = job.Pass(20);
    ASSERT_TRUE(hang);
    EXPECT_EQ(hang->rank, 3);
  }
}

TEST(HangDetector, AllInOneCollectiveAndNoneSpecialBlamesNobody) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  job.Begin();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  for (RankView& rank : job.ranks) ++rank.collective;
  const auto hang = job.Pass(20);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, -1);
  EXPECT_THAT(hang->detail, HasSubstr("all ranks wait in the same place, collective 21"));
}

TEST(HangDetector, OfCollectivesInTheBackgroundTheOldestUnfinishedIsNamed) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  job.Begin();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  for (RankView& rank : job.ranks) {
    rank.collective += rank.rank == 1 ? 2 : 4;  // rank 1 hangs after two of four
    rank.operation = monitor::Operation::kReduceScatter;
    ++rank.collective_done;
  }
  const auto hang = job.Pass(20);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_THAT(hang->detail,
              HasSubstr("rank 1 waiting (state S) in collective 22 (reduce_scatter)"));
}

TEST(HangDetector, ARankAloneInACollectiveWaitsForOtherNodes) {
  RankView view = {.rank = 5, .collective = 8, .collective_done = 7};
  EXPECT_EQ(Culprit({view}, {'R'}), -1);
  EXPECT_EQ(Culprit({view}, {'T'}), 5);
  view.collective_done = 8;
  EXPECT_EQ(Culprit({view}, {'R'}), 5);
}

TEST(HangDetector, LongStepsGetFiveMedians) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  job.Begin();
  for (int i = 0; i < 10; ++i) job.Step(4);
  EXPECT_NEAR(job.detector.StepLimit(), 20, 1e-6);
  EXPECT_FALSE(job.Pass(19));
  EXPECT_TRUE(job.Pass(2));
}

TEST(HangDetector, StartIsLimitedWhateverTheWordsDo) {
  Job job({.hang_seconds = 5, .start_seconds = 30});
  for (int i = 0; i < 29; ++i) {
    for (RankView& rank : job.ranks) rank.time = job.now;
    ASSERT_FALSE(job.Pass(1));
  }
  const auto hang = job.Pass(3);
  ASSERT_TRUE(hang);
  EXPECT_TRUE(hang->starting);
}

TEST(HangDetector, AStoppedProcessIsNotWaitedForInStartUp) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  job.states[1] = 'T';
  const auto hang = job.Pass(20);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_TRUE(hang->starting);
  EXPECT_NEAR(job.now - hang->last_sign, 5, 0.5);
}

TEST(HangDetector, SavingAtTheEndHasTheLongLimit) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  job.Begin();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  for (RankView& rank : job.ranks) rank.phase = Phase::kSaving;
  EXPECT_FALSE(job.Pass(55));
  EXPECT_TRUE(job.Pass(10));
}

TEST(HangDetector, AfterAChangeOfResolutionStepsAreMeasuredAnew) {
  Job job({.hang_seconds = 2, .start_seconds = 60});
  job.Begin();
  for (int i = 0; i < 20; ++i) ASSERT_FALSE(job.Step(0.2));
  for (RankView& rank : job.ranks) rank.phase = Phase::kSaving;
  EXPECT_FALSE(job.Pass(10));
  job.Begin();
  EXPECT_FALSE(job.Step(9));  // the first one of the new kind has the long limit
  EXPECT_NEAR(job.detector.MedianStep(), 0, 1e-9);
  EXPECT_FALSE(job.Step(1.5));
  EXPECT_NEAR(job.detector.MedianStep(), 1.5, 1e-6);
  EXPECT_TRUE(job.Pass(9));  // five of them
}

TEST(HangDetector, FinishedRanksAreNotWatched) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  job.Begin();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  for (RankView& rank : job.ranks) rank.phase = Phase::kDone;
  EXPECT_FALSE(job.Pass(600));
}

TEST(HangDetector, OurOwnAbsenceIsNotTheirSilence) {
  Job job({.hang_seconds = 5, .start_seconds = 60});
  job.Begin();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  job.now += 3600;  // the machine slept
  EXPECT_FALSE(job.Pass(4));
  EXPECT_FALSE(job.Step(0.4));
}

}  // namespace
}  // namespace contrail::launcher
