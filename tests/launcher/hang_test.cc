#include "launcher/hang.h"

#include <gmock/gmock.h>

namespace contrail::launcher {
namespace {

using monitor::Activity;
using monitor::Phase;
using ::testing::HasSubstr;

// Four ranks in lock step under a clock of our own, looked at ten times a second.
class Job {
 public:
  explicit Job(const HangDetector::Limits& these) : limits(these) { Restart(); }

  // A new attempt of the same run.
  void Restart() {
    detector = std::make_unique<HangDetector>(limits, learned, now);
    ranks.clear();
    for (int rank = 0; rank < 4; ++rank) {
      ranks.push_back({.rank = rank, .pid = 100 + rank, .phase = Phase::kStarting, .time = now});
    }
  }
  void All(Phase phase, Activity activity) {
    for (RankView& rank : ranks) {
      rank.phase = phase;
      rank.activity = activity;
      rank.time = now;
    }
  }
  void Train() { All(Phase::kTraining, Activity::kComputing); }
  // The rank's main thread waits in the next collective.
  void Enter(RankView& rank) {
    ++rank.collective;
    rank.operation = monitor::Operation::kAllGather;
    rank.blocked = true;
    rank.time = now;
  }
  void Leave(RankView& rank) {
    rank.collective_done = rank.collective;
    rank.blocked = false;
    rank.time = now;
  }
  void Progress(RankView& rank) { rank.time = now; }
  // All compute, meet in a collective and end the step.
  std::optional<Hang> Step(double seconds) {
    if (auto hang = Pass(seconds)) return hang;
    for (RankView& rank : ranks) {
      Enter(rank);
      Leave(rank);
      ++rank.step;
    }
    return Pass(0);
  }
  // Time passes, looked at ten times a second; what is found first.
  std::optional<Hang> Pass(double seconds, double between = 0.1) {
    const double end = now + seconds;
    do {
      const double passed = std::min(between, end - now);
      now += passed;
      for (size_t i = 0; i < 4; ++i) cpu[i] += passed * share[i];
      const auto ask = [this](int pid) {
        return HangDetector::Facts{states[pid - 100], cpu[pid - 100], bytes[pid - 100]};
      };
      if (auto hang = detector->Look(ranks, now, ask)) return hang;
    } while (now < end - 1e-9);
    return std::nullopt;
  }

  const HangDetector::Limits limits;
  LearnedLimits learned;
  double now = 1000;
  std::unique_ptr<HangDetector> detector;
  std::vector<RankView> ranks;
  std::array<char, 4> states = {'S', 'S', 'S', 'S'};
  std::array<double, 4> cpu = {};      // seconds
  std::array<double, 4> share = {};    // of a processor, from now on
  std::array<uint64_t, 4> bytes = {};  // read
};

constexpr HangDetector::Limits kSmall = {
    .hang_seconds = 5, .start_seconds = 60, .save_seconds = 80, .collective_seconds = 200};

TEST(HangDetector, HealthyStepsAreNeverAHang) {
  Job job(kSmall);
  EXPECT_FALSE(job.Pass(50));  // a slow start
  job.Train();
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(job.Step(0.4)) << i;
}

// A rank's word tells of a shard that is done, the kernel of every byte of it.
TEST(HangDetector, BytesThatAreReadAreProgress) {
  for (const Activity activity :
       {Activity::kStarting, Activity::kIndexing, Activity::kReading, Activity::kData}) {
    Job job(kSmall);
    job.All(Phase::kTraining, activity);
    for (int i = 0; i < 20; ++i) {
      for (uint64_t& bytes : job.bytes) ++bytes;
      ASSERT_FALSE(job.Pass(25)) << ActivityText(activity);
    }
    job.bytes[0] += 1;
    job.bytes[1] += 1;
    job.bytes[3] += 1;
    std::optional<Hang> hang;
    for (int i = 0; i < 300 && !hang; ++i) {
      for (const size_t rank : {0, 1, 3}) ++job.bytes[rank];
      hang = job.Pass(1);
    }
    ASSERT_TRUE(hang) << ActivityText(activity);
    EXPECT_EQ(hang->rank, 2);
    EXPECT_LE(hang->silent, 61);
  }
}

// On a machine that has far too much to do a rank may get next to nothing of the processor.
TEST(HangDetector, ARankThatWaitsForTheProcessorIsNotHung) {
  Job job(kSmall);
  job.Train();
  job.states = {'R', 'R', 'R', 'R'};
  EXPECT_FALSE(job.Pass(190));
  EXPECT_TRUE(job.Pass(20));  // the others' patience ends
}

// What other threads read is no sign of a main thread that is to compute.
TEST(HangDetector, BytesAreNoProgressOfOneThatComputes) {
  Job job(kSmall);
  job.Train();
  std::optional<Hang> hang;
  for (int i = 0; i < 100 && !hang; ++i) {
    for (uint64_t& bytes : job.bytes) ++bytes;
    hang = job.Pass(1);
  }
  EXPECT_TRUE(hang);
}

// The promise of the defaults: steps of a minute whose blocks are seen, or which only burn; starts,
// saves and data that take minutes with progress; a stall of the data for a minute.
TEST(HangDetector, NoFalseAlarmInHealthyButSlowRuns) {
  Job job({});
  for (int i = 0; i < 200; ++i) {
    for (RankView& rank : job.ranks) rank.work += 1 << 20;
    ASSERT_FALSE(job.Pass(1));
  }
  job.Train();
  for (int step = 0; step < 3; ++step) {
    for (int block = 0; block < 12; ++block) {
      for (RankView& rank : job.ranks) job.Progress(rank);
      ASSERT_FALSE(job.Pass(5));
    }
    ASSERT_FALSE(job.Step(0));
  }
  // One block of a minute, from the first step on: the main thread burns.
  job.share = {0.5, 0.5, 0.5, 0.5};
  job.Restart();
  job.Train();
  for (int step = 0; step < 3; ++step) ASSERT_FALSE(job.Step(60)) << step;
  job.share = {};
  job.All(Phase::kTraining, Activity::kData);
  ASSERT_FALSE(job.Pass(60));
  job.All(Phase::kSaving, Activity::kSaving);
  for (int i = 0; i < 150; ++i) {
    for (RankView& rank : job.ranks) job.Progress(rank);
    ASSERT_FALSE(job.Pass(1));
  }
}

TEST(HangDetector, ARankThatHangsComputingIsFoundInTime) {
  Job job({});
  job.Train();
  for (int i = 0; i < 3; ++i) job.Step(2);
  const double begun = job.now;
  for (RankView& rank : job.ranks) {
    if (rank.rank != 1) job.Enter(rank);
  }
  const auto hang = job.Pass(60);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_FALSE(hang->starting);
  EXPECT_LE(job.now - begun, 15 + 1e-6);
  EXPECT_THAT(hang->detail, HasSubstr("rank 1 waiting (state S), computing, before collective 4 "
                                      "(allgather), silent for 14.9 s"));
}

TEST(HangDetector, EveryActivityHasItsLimit) {
  struct Row {
    Phase phase;
    Activity activity;
    double limit;
    bool starting;
  };
  for (const Row& row : {Row{Phase::kStarting, Activity::kStarting, 60, true},
                         Row{Phase::kStarting, Activity::kIndexing, 60, true},
                         Row{Phase::kStarting, Activity::kReading, 60, true},
                         Row{Phase::kTraining, Activity::kComputing, 5, false},
                         Row{Phase::kTraining, Activity::kExchanging, 5, false},
                         Row{Phase::kTraining, Activity::kData, 60, false},
                         Row{Phase::kTraining, Activity::kSaving, 80, false},
                         Row{Phase::kSaving, Activity::kSaving, 80, false},
                         Row{Phase::kTraining, Activity::kEvaluating, 60, false}}) {
    Job job(kSmall);
    job.Train();
    ASSERT_FALSE(job.Step(1));
    job.ranks[2].phase = row.phase;
    job.ranks[2].activity = row.activity;
    job.Progress(job.ranks[2]);
    for (RankView& rank : job.ranks) {
      if (rank.rank != 2) job.Enter(rank);
    }
    EXPECT_FALSE(job.Pass(row.limit - 0.3)) << ActivityText(row.activity);
    const auto hang = job.Pass(1);
    ASSERT_TRUE(hang) << ActivityText(row.activity);
    EXPECT_EQ(hang->rank, 2);
    EXPECT_EQ(hang->starting, row.starting);
    EXPECT_THAT(hang->detail, HasSubstr(ActivityText(row.activity)));
  }
}

// A look may come between the stores of a word.
TEST(HangDetector, WhatItDoesIsTakenAsItIsNow) {
  Job job(kSmall);
  job.Train();
  ASSERT_FALSE(job.Step(1));
  for (RankView& rank : job.ranks) rank.activity = Activity::kData;  // its time was stored before
  EXPECT_FALSE(job.Pass(50));
}

TEST(HangDetector, WhoWaitsForASlowRankHasNoLimit) {
  Job job(kSmall);
  job.Train();
  for (int i = 0; i < 3; ++i) job.Step(0.4);
  for (RankView& rank : job.ranks) {
    if (rank.rank != 3) job.Enter(rank);
  }
  for (int i = 0; i < 100; ++i) {
    job.Progress(job.ranks[3]);  // block after block
    ASSERT_FALSE(job.Pass(4));
  }
  const auto hang = job.Pass(6);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 3);
}

TEST(HangDetector, ARankThatBurnsIsSlowUntilTheOthersGiveUp) {
  Job job(kSmall);
  job.Train();
  job.Step(0.4);
  for (RankView& rank : job.ranks) {
    if (rank.rank != 0) job.Enter(rank);
  }
  job.share[0] = 0.9;
  EXPECT_FALSE(job.Pass(195));
  EXPECT_TRUE(job.Pass(10));

  // It stops burning: hung, found within half a limit.
  Job other(kSmall);
  other.Train();
  other.Step(0.4);
  other.share[0] = 0.9;
  for (RankView& rank : other.ranks) {
    if (rank.rank != 0) other.Enter(rank);
  }
  EXPECT_FALSE(other.Pass(30));
  other.share[0] = 0;
  const auto hang = other.Pass(10);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 0);
  EXPECT_LE(hang->silent, 35);
}

TEST(HangDetector, ARankUnderADebuggerIsNotHung) {
  Job job(kSmall);
  job.Train();
  job.Step(0.4);
  for (RankView& rank : job.ranks) {
    if (rank.rank != 0) job.Enter(rank);
  }
  job.states[0] = 't';
  EXPECT_FALSE(job.Pass(195));
  job.states[0] = 'S';  // let go, and it does not go on
  const auto hang = job.Pass(10);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 0);
}

TEST(HangDetector, BurningInsideACollectiveIsWaiting) {
  Job job(kSmall);
  job.Train();
  job.Step(0.4);
  job.share = {1, 1, 1, 1};
  for (RankView& rank : job.ranks) job.Enter(rank);
  const auto hang = job.Pass(10);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, -1);
  EXPECT_THAT(hang->detail, HasSubstr("all ranks here wait in collective 2 (allgather), silent"));
}

TEST(HangDetector, RanksOfOtherNodesGetTheLongLimit) {
  HangDetector::Limits limits = kSmall;
  limits.other_nodes = true;
  Job job(limits);
  job.Train();
  job.Step(0.4);
  for (RankView& rank : job.ranks) job.Enter(rank);
  EXPECT_FALSE(job.Pass(59));
  const auto hang = job.Pass(2);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, -1);
}

TEST(HangDetector, WhatEndedWellIsLearnedAndKeptOverAttempts) {
  Job job(kSmall);
  job.Train();
  EXPECT_FALSE(job.Step(4.5));  // the first step counts
  EXPECT_NEAR(job.detector->LimitOf(job.ranks[0]), 9, 0.2);
  job.Restart();
  job.Train();
  EXPECT_NEAR(job.detector->LimitOf(job.ranks[0]), 9, 0.2);
  EXPECT_FALSE(job.Step(8.5));
  EXPECT_TRUE(job.Pass(18));
}

TEST(HangDetector, OneLongStallDoesNotBlindForEver) {
  Job job(kSmall);
  job.Train();
  for (const double stall : {4.5, 8.5, 16.5, 32.5}) EXPECT_FALSE(job.Step(stall)) << stall;
  EXPECT_NEAR(job.detector->LimitOf(job.ranks[0]), 65, 0.5);
  for (int i = 0; i < 3400; ++i) ASSERT_FALSE(job.Step(1));
  EXPECT_EQ(job.detector->LimitOf(job.ranks[0]), 5);
  // And no limit grows past the patience of collectives.
  for (double stall = 4.5; stall < 190; stall *= 1.8) EXPECT_FALSE(job.Step(stall)) << stall;
  EXPECT_LE(job.detector->LimitOf(job.ranks[0]), 200);
}

TEST(HangDetector, WhatItWaitedForOthersIsNotItsOwnNeed) {
  Job job(kSmall);
  job.Train();
  job.Step(0.4);
  for (RankView& rank : job.ranks) {
    if (rank.rank != 3) job.Enter(rank);
  }
  for (int i = 0; i < 10; ++i) {
    job.Progress(job.ranks[3]);
    ASSERT_FALSE(job.Pass(2));
  }
  job.Enter(job.ranks[3]);
  for (RankView& rank : job.ranks) job.Leave(rank);
  ASSERT_FALSE(job.Pass(0.2));
  EXPECT_EQ(job.detector->LimitOf(job.ranks[0]), 5);
}

TEST(HangDetector, TheRankBehindIsTheCulprit) {
  Job job(kSmall);
  job.Train();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  job.states[2] = 'T';
  for (RankView& rank : job.ranks) {
    if (rank.rank != 2) job.Enter(rank);
  }
  const auto hang = job.Pass(20);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 2);
  EXPECT_FALSE(hang->starting);
  EXPECT_THAT(hang->detail,
              HasSubstr("rank 2 stopped (state T), computing, before collective 11 (allgather)"));
  EXPECT_NEAR(hang->silent, 5, 0.5);
}

TEST(HangDetector, InsideTheSameCollectiveTheProcessStateTells) {
  for (const char state : {'T', 'D'}) {
    Job job(kSmall);
    job.Train();
    for (int i = 0; i < 10; ++i) job.Step(0.4);
    for (RankView& rank : job.ranks) job.Enter(rank);
    job.states = {'R', 'R', 'R', state};
    const auto hang = job.Pass(20);
    ASSERT_TRUE(hang);
    EXPECT_EQ(hang->rank, 3);
    EXPECT_THAT(hang->detail, HasSubstr("in collective 11 (allgather)"));
  }
}

TEST(HangDetector, OfCollectivesInTheBackgroundTheOldestUnfinishedIsNamed) {
  Job job(kSmall);
  job.Train();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  for (RankView& rank : job.ranks) {
    rank.collective += rank.rank == 1 ? 2 : 4;  // rank 1 hangs after two of four
    rank.operation = monitor::Operation::kReduceScatter;
    ++rank.collective_done;
    rank.activity = Activity::kExchanging;
    job.Progress(rank);
  }
  const auto hang = job.Pass(20);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_THAT(hang->detail,
              HasSubstr("rank 1 waiting (state S), in collective 12 (reduce_scatter)"));
}

// Collectives in the background do not excuse a main thread that hangs beside them.
TEST(HangDetector, ComputingBesideACollectiveIsComputing) {
  Job job(kSmall);
  job.Train();
  job.Step(0.4);
  for (RankView& rank : job.ranks) {
    ++rank.collective;
    rank.activity = rank.rank == 0 ? Activity::kComputing : Activity::kExchanging;
    job.Progress(rank);
  }
  const auto hang = job.Pass(10);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 0);
}

TEST(HangDetector, ARankAloneInACollectiveWaitsForOtherNodes) {
  RankView view = {.rank = 5, .blocked = true, .collective = 8, .collective_done = 7};
  EXPECT_EQ(Culprit({view}, {'R'}), -1);
  EXPECT_EQ(Culprit({view}, {'T'}), 5);
  view.blocked = false;
  view.collective_done = 8;
  EXPECT_EQ(Culprit({view}, {'R'}), 5);
}

TEST(HangDetector, SeveralThatHangAlikeAreCounted) {
  Job job(kSmall);
  job.Train();
  job.Step(0.4);
  job.All(Phase::kTraining, Activity::kData);
  const auto hang = job.Pass(70);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, -1);
  EXPECT_THAT(hang->detail, HasSubstr("4 ranks make no progress (waiting for data), silent for"));
}

TEST(HangDetector, StartUpCountsFromTheLastProgress) {
  Job job(kSmall);
  for (int i = 0; i < 300; ++i) {
    for (RankView& rank : job.ranks) job.Progress(rank);
    ASSERT_FALSE(job.Pass(1));
  }
  EXPECT_FALSE(job.Pass(58));
  const auto hang = job.Pass(3);
  ASSERT_TRUE(hang);
  EXPECT_TRUE(hang->starting);
}

TEST(HangDetector, AStoppedProcessIsNotWaitedForInStartUp) {
  Job job(kSmall);
  job.states[1] = 'T';
  const auto hang = job.Pass(20);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
  EXPECT_TRUE(hang->starting);
  EXPECT_NEAR(hang->silent, 5, 0.7);
}

TEST(HangDetector, FinishedRanksAreNotWatched) {
  Job job(kSmall);
  job.Train();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  job.All(Phase::kDone, Activity::kEnding);
  EXPECT_FALSE(job.Pass(600));
}

TEST(HangDetector, OurOwnAbsenceIsNotTheirSilence) {
  Job job(kSmall);
  job.Train();
  for (int i = 0; i < 10; ++i) job.Step(0.4);
  job.now += 3600;  // everything slept
  EXPECT_FALSE(job.Pass(3));
  EXPECT_FALSE(job.Step(0.4));
}

TEST(HangDetector, SlowLooksFindAHangLater) {
  Job job(kSmall);
  job.Train();
  job.Step(0.4);
  for (RankView& rank : job.ranks) {
    if (rank.rank != 1) job.Enter(rank);
  }
  const auto hang = job.Pass(30, 3);
  ASSERT_TRUE(hang);
  EXPECT_EQ(hang->rank, 1);
}

}  // namespace
}  // namespace contrail::launcher
