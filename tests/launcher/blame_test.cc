#include "launcher/blame.h"

#include <gmock/gmock.h>

#include <csignal>

namespace contrail::launcher {
namespace {

RankEnd Died(int rank, uint64_t collective, int signal) {
  return {rank, "n1", 10, collective, std::nullopt, signal};
}

RankEnd Said(int rank, uint64_t collective, const std::string& outcome, const std::string& id) {
  monitor::EndRecord record;
  record.rank = rank;
  record.host = "n2";
  record.outcome = outcome;
  record.collective = collective;
  record.error_id = id;
  record.message = id + ": the whole line";
  record.step = 11;
  return {rank, "n1", 10, collective, record, std::nullopt};
}

TEST(FirstCause, NothingWhereAllEndedWell) {
  EXPECT_FALSE(FirstCause({}));
  EXPECT_FALSE(FirstCause({Said(0, 9, "done", ""), Said(1, 9, "stopped", "")}));
}

TEST(FirstCause, ADeathWithoutAWord) {
  const auto failure = FirstCause({Said(0, 9, "done", ""), Died(2, 7, SIGKILL)});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->cause, Cause::kRankDied);
  EXPECT_EQ(failure->rank, 2);
  EXPECT_EQ(failure->host, "n1");
  EXPECT_EQ(failure->detail, "killed by signal 9 (Killed)");
  EXPECT_EQ(failure->error_id, "");
  EXPECT_EQ(failure->step, 10u);
}

TEST(FirstCause, ACrashHasAnIdOfItsOwn) {
  EXPECT_EQ(FirstCause({Died(1, 7, SIGSEGV)})->error_id, "signal 11");
  EXPECT_EQ(FirstCause({Died(1, 7, 75 << 8)})->detail, "exited with code 75");
}

TEST(FirstCause, TheLowestCollectiveBeatsItsVictims) {
  const auto failure = FirstCause(
      {Said(0, 12, "environment_error", "E-IO"), Said(3, 8, "environment_error", "E-IO")});
  EXPECT_EQ(failure->rank, 3);
  EXPECT_EQ(failure->cause, Cause::kError);
  EXPECT_EQ(failure->detail, "E-IO: the whole line");
  EXPECT_EQ(failure->host, "n2");
  EXPECT_EQ(failure->step, 11u);
}

TEST(FirstCause, ARankThatOthersWaitedForHasHung) {
  RankEnd waited = Said(1, 12, "environment_error", "E-MPI-TIMEOUT");
  waited.record->missing = {3};
  // The job's end kills the others without a word.
  auto failure = FirstCause({Died(0, 12, SIGKILL), waited, Died(3, 12, SIGKILL)});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->cause, Cause::kRankHung);
  EXPECT_EQ(failure->rank, 3);
  EXPECT_EQ(failure->host, "n1");
  EXPECT_EQ(failure->error_id, "");
  EXPECT_EQ(failure->detail, "E-MPI-TIMEOUT: the whole line");
  EXPECT_EQ(failure->step, 11u);
  // A rank's own trouble explains why it did not come.
  failure = FirstCause({waited, Said(3, 11, "environment_error", "E-IO")});
  EXPECT_EQ(failure->cause, Cause::kError);
  EXPECT_EQ(failure->rank, 3);
}

TEST(FirstCause, TheUsersMistakeBeatsEverything) {
  const auto failure =
      FirstCause({Said(0, 1, "environment_error", "E-IO"), Died(1, 0, SIGKILL),
                  Said(2, 99, "user_error", "E-DATA-IMAGE"), Said(3, 5, "bug", "E-BUG")});
  EXPECT_EQ(failure->rank, 2);
  EXPECT_EQ(failure->cause, Cause::kUserError);
  EXPECT_EQ(FirstCause({Died(1, 0, SIGKILL), Said(3, 5, "bug", "E-BUG")})->cause, Cause::kBug);
}

TEST(FirstCause, ACommunicationErrorIsTheVictimOfADeath) {
  const auto failure =
      FirstCause({Said(0, 3, "environment_error", "E-MPI-COLLECTIVE"), Died(1, 3, SIGKILL)});
  EXPECT_EQ(failure->rank, 1);
}

// All ranks leave together then; the rank they name is the incident's.
TEST(FirstCause, ARankThatAllOfThemBlame) {
  std::vector<RankEnd> ends;
  for (int rank = 0; rank < 4; ++rank) {
    ends.push_back(Said(rank, 9, "environment_error", "E-REPLICA"));
    ends.back().record->culprit = 2;
    ends.back().record->host = "n" + std::to_string(rank);
  }
  const auto failure = FirstCause(ends);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->cause, Cause::kReplica);
  EXPECT_EQ(failure->rank, 2);
  EXPECT_EQ(failure->host, "n2");
  ends.erase(ends.begin() + 2);  // the others were faster
  EXPECT_EQ(FirstCause(ends)->rank, 2);
  EXPECT_EQ(FirstCause(ends)->host, "");
  const auto nobody = FirstCause({Said(1, 9, "environment_error", "E-NONFINITE")});
  EXPECT_EQ(nobody->cause, Cause::kBadSteps);
  EXPECT_EQ(nobody->rank, -1);
}

}  // namespace
}  // namespace contrail::launcher
