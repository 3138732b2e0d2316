#include "launcher/blame.h"

#include <gmock/gmock.h>

#include <csignal>

namespace contrail::launcher {
namespace {

using Kind = Verdict::Kind;
using ::testing::HasSubstr;

constexpr double kFirst = 100;  // when the first end is noticed

RankEnd Died(int rank, uint64_t collective, int signal, double noticed = kFirst) {
  return {rank, "n1", 10, collective, std::nullopt, signal, noticed};
}

RankEnd Said(int rank, uint64_t collective, const std::string& outcome, const std::string& id,
             const std::string& host = "n1") {
  monitor::EndRecord record;
  record.rank = rank;
  record.host = host;
  record.outcome = outcome;
  record.collective = collective;
  record.error_id = id;
  record.message = id + ": the whole line";
  record.step = 11;
  return {rank, "n1", 10, collective, record, std::nullopt, kFirst};
}

RankEnd Stopped(int rank, int signal = 0, bool daemon = false, const std::string& host = "n1") {
  RankEnd end = Said(rank, 9, "stopped", "", host);
  end.record->signal = signal;
  end.record->daemon_asked = daemon;
  return end;
}

// Four ranks on one node, noticed just now.
Evidence OneNode(std::vector<RankEnd> ends) {
  return {.ranks = 4, .host = "n1", .shown = 4, .ends = std::move(ends), .now = kFirst};
}

// Ranks 0 and 1 here, 2 and 3 elsewhere; mpirun and everything else is still at work.
Evidence TwoNodes(std::vector<RankEnd> ends) {
  Evidence evidence = OneNode(std::move(ends));
  evidence.one_node = false;
  evidence.allocation = true;
  evidence.shown = 2;
  return evidence;
}

void MpirunEnds(Evidence* evidence, int status = 137 << 8, double after = 2) {
  evidence->mpirun = status;
  evidence->mpirun_ended = kFirst + after;
  evidence->now = evidence->mpirun_ended;
}

TEST(FirstCause, NothingWhereAllEndedWell) {
  EXPECT_FALSE(FirstCause({}));
  EXPECT_FALSE(FirstCause(OneNode({Said(0, 9, "done", ""), Said(1, 9, "stopped", "")})));
}

TEST(FirstCause, ADeathWithoutAWord) {
  const auto failure = FirstCause(OneNode({Said(0, 9, "done", ""), Died(2, 7, SIGKILL)}));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->cause, Cause::kRankDied);
  EXPECT_EQ(failure->rank, 2);
  EXPECT_EQ(failure->host, "n1");
  EXPECT_EQ(failure->detail, "killed by signal 9 (Killed)");
  EXPECT_EQ(failure->error_id, "");
  EXPECT_EQ(failure->step, 10u);
}

TEST(FirstCause, ACrashHasAnIdOfItsOwn) {
  EXPECT_EQ(FirstCause(OneNode({Died(1, 7, SIGSEGV)}))->error_id, "signal 11");
  EXPECT_EQ(FirstCause(OneNode({Died(1, 7, 75 << 8)}))->detail, "exited with code 75");
}

TEST(FirstCause, TheLowestCollectiveBeatsItsVictims) {
  const auto failure = FirstCause(OneNode(
      {Said(0, 12, "environment_error", "E-IO"), Said(3, 8, "environment_error", "E-IO", "n2")}));
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
  auto failure = FirstCause(OneNode({Died(0, 12, SIGKILL), waited, Died(3, 12, SIGKILL)}));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->cause, Cause::kRankHung);
  EXPECT_EQ(failure->rank, 3);
  EXPECT_EQ(failure->host, "n1");
  EXPECT_EQ(failure->error_id, "");
  EXPECT_EQ(failure->detail, "E-MPI-TIMEOUT: the whole line");
  EXPECT_EQ(failure->step, 11u);
  // A rank's own trouble explains why it did not come.
  failure = FirstCause(OneNode({waited, Said(3, 11, "environment_error", "E-IO")}));
  EXPECT_EQ(failure->cause, Cause::kError);
  EXPECT_EQ(failure->rank, 3);
}

TEST(FirstCause, TheUsersMistakeBeatsEverything) {
  const auto failure =
      FirstCause(OneNode({Said(0, 1, "environment_error", "E-IO"), Died(1, 0, SIGKILL),
                          Said(2, 99, "user_error", "E-DATA-IMAGE"), Said(3, 5, "bug", "E-BUG")}));
  EXPECT_EQ(failure->rank, 2);
  EXPECT_EQ(failure->cause, Cause::kUserError);
  EXPECT_EQ(FirstCause(OneNode({Died(1, 0, SIGKILL), Said(3, 5, "bug", "E-BUG")}))->cause,
            Cause::kBug);
}

TEST(FirstCause, ACommunicationErrorIsTheVictimOfADeath) {
  const auto failure = FirstCause(
      OneNode({Said(0, 3, "environment_error", "E-MPI-COLLECTIVE"), Died(1, 3, SIGKILL)}));
  EXPECT_EQ(failure->rank, 1);
}

// All ranks leave together then; the rank they name is the incident's.
TEST(FirstCause, ARankThatAllOfThemBlame) {
  std::vector<RankEnd> ends;
  for (int rank = 0; rank < 4; ++rank) {
    ends.push_back(Said(rank, 9, "environment_error", "E-REPLICA", "n" + std::to_string(rank)));
    ends.back().record->culprit = 2;
  }
  const auto failure = FirstCause(OneNode(ends));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->cause, Cause::kReplica);
  EXPECT_EQ(failure->rank, 2);
  EXPECT_EQ(failure->host, "n2");
  ends.erase(ends.begin() + 2);  // the others were faster
  EXPECT_EQ(FirstCause(OneNode(ends))->rank, 2);
  EXPECT_EQ(FirstCause(OneNode(ends))->host, "");
  const auto nobody = FirstCause(OneNode({Said(1, 9, "environment_error", "E-NONFINITE")}));
  EXPECT_EQ(nobody->cause, Cause::kBadSteps);
  EXPECT_EQ(nobody->rank, -1);
}

TEST(Judge, OnOneNodeADeathIsJudgedAtOnce) {
  const Verdict verdict = Judge(OneNode({Died(2, 7, SIGKILL)}));
  EXPECT_EQ(verdict.kind, Kind::kFailed);
  EXPECT_EQ(verdict.failure.rank, 2);
  EXPECT_EQ(Judge(OneNode({})).kind, Kind::kWait);
}

TEST(Judge, LaterDeathsAreVictims) {
  const Verdict verdict = Judge(OneNode({Died(0, 3, SIGKILL, kFirst + 0.1), Died(2, 7, SIGKILL)}));
  EXPECT_EQ(verdict.failure.rank, 2);
}

TEST(Judge, DeathsInOneLookWaitForMpirunsWord) {
  Evidence evidence = OneNode({Died(0, 7, SIGKILL), Died(2, 7, SIGKILL)});
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  MpirunEnds(&evidence, 137 << 8, 0.3);
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.notice = MpirunNotice{2, "n1", "killed by signal 9 (Killed)", true};
  EXPECT_EQ(Judge(evidence).failure.rank, 2);
  // It need not come.
  evidence.notice.reset();
  evidence.now += 1;
  EXPECT_EQ(Judge(evidence).kind, Kind::kFailed);
  // A crash among them is what mpirun ended the others for.
  evidence.ends[1].status = SIGSEGV;
  EXPECT_EQ(Judge(evidence).failure.rank, 2);
  EXPECT_EQ(Judge(evidence).failure.error_id, "signal 11");
}

TEST(Judge, WhoSpokeIsHeardBeforeTheDead) {
  // Rank 3 said it in shared memory, its abort took rank 1 along, rank 0 and 2 are still there.
  Evidence evidence =
      OneNode({Died(1, 5, SIGKILL), Said(3, 5, "environment_error", "E-CKPT-SAVE")});
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.now += 1;
  evidence.ends.push_back(Said(0, 5, "user_error", "E-DATA-IMAGE"));
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.ends.push_back(Died(2, 5, SIGKILL));
  EXPECT_EQ(Judge(evidence).failure.rank, 0);
  evidence.ends.pop_back();
  evidence.now = kFirst + 2.1;  // rank 2 says nothing
  EXPECT_EQ(Judge(evidence).failure.error_id, "E-DATA-IMAGE");
}

TEST(Judge, MpirunKilledIsNoRanksFault) {
  Evidence evidence = OneNode({Died(0, 7, SIGKILL), Died(1, 7, SIGKILL)});
  evidence.mpirun = SIGKILL;
  evidence.mpirun_ended = kFirst;
  const Verdict verdict = Judge(evidence);
  EXPECT_EQ(verdict.failure.rank, -1);
  EXPECT_EQ(verdict.failure.cause, Cause::kRankDied);
  EXPECT_EQ(verdict.failure.detail, "mpirun killed by signal 9 (Killed)");
}

TEST(Judge, MpirunThatEndsBeforeAnyRankCameUp) {
  Evidence evidence = OneNode({});
  evidence.shown = 0;
  MpirunEnds(&evidence, 1 << 8);
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);  // they may have left records
  evidence.records_read = true;
  EXPECT_EQ(Judge(evidence).failure.cause, Cause::kStartFailed);
  evidence.ends.push_back(Said(1, 0, "environment_error", "E-PROGRESS"));
  EXPECT_EQ(Judge(evidence).failure.error_id, "E-PROGRESS");
}

// A death on another node: mpirun kills the ranks here before it speaks.
TEST(Judge, WithSeveralNodesALocalDeathIsNotTheCause) {
  Evidence evidence = TwoNodes({Died(0, 12, SIGKILL), Died(1, 12, SIGKILL, kFirst + 0.1)});
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.now += 9;
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  MpirunEnds(&evidence);
  evidence.notice = MpirunNotice{3, "n2", "killed by signal 9 (Killed)", true};
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);  // a record may say more
  evidence.records_read = true;
  const Verdict verdict = Judge(evidence);
  EXPECT_EQ(verdict.failure.cause, Cause::kRankDied);
  EXPECT_EQ(verdict.failure.rank, 3);
  EXPECT_EQ(verdict.failure.host, "n2");
}

TEST(Judge, WithSeveralNodesWordsOfAnotherNodeAreAwaited) {
  Evidence evidence = TwoNodes({Died(0, 12, SIGTERM), Died(1, 12, SIGKILL)});
  MpirunEnds(&evidence, 2 << 8);
  evidence.records_read = true;
  evidence.notice = MpirunNotice{2, "", "exited with code 2"};  // so it could have spoken
  evidence.now += 4;
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.ends.push_back(Said(2, 12, "user_error", "E-DATA-IMAGE", "n2"));
  const Verdict verdict = Judge(evidence);
  EXPECT_EQ(verdict.failure.cause, Cause::kUserError);
  EXPECT_EQ(verdict.failure.rank, 2);
  EXPECT_EQ(verdict.failure.host, "n2");
}

TEST(Judge, WithSeveralNodesTheWaitIsBounded) {
  Evidence evidence = TwoNodes({Died(0, 12, SIGKILL)});
  evidence.now += 10.1;  // mpirun does not end
  EXPECT_EQ(Judge(evidence).failure.rank, 0);
  evidence = TwoNodes({Died(0, 12, SIGKILL)});
  MpirunEnds(&evidence);
  evidence.now += 5.1;  // no file system answers
  EXPECT_EQ(Judge(evidence).failure.rank, 0);
}

TEST(Judge, TheOneRankWithoutAWordElsewhereIsNamed) {
  Evidence evidence = TwoNodes({Said(0, 12, "environment_error", "E-MPI-COLLECTIVE"),
                                Said(1, 12, "environment_error", "E-MPI-COLLECTIVE"),
                                Said(3, 12, "environment_error", "E-MPI-COLLECTIVE", "n2")});
  MpirunEnds(&evidence, 75 << 8);
  evidence.records_read = true;
  evidence.now += 5.1;
  EXPECT_EQ(Judge(evidence).failure.rank, 2);
  EXPECT_EQ(Judge(evidence).failure.detail, "gone, and mpirun exited with code 75");
  evidence.ends.pop_back();
  EXPECT_EQ(Judge(evidence).failure.rank, -1);  // one of two
}

TEST(Judge, AllDoneAndMpirunGone) {
  std::vector<RankEnd> ends;
  for (int rank = 0; rank < 4; ++rank) ends.push_back(Said(rank, 9, "done", ""));
  Evidence evidence = OneNode(ends);
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  MpirunEnds(&evidence, 0, 0.2);
  EXPECT_EQ(Judge(evidence).kind, Kind::kDone);
  // What happened after the last words does not undo what is committed.
  evidence.mpirun = 1 << 8;
  EXPECT_EQ(Judge(evidence).kind, Kind::kDone);
}

TEST(Judge, DoneRanksThatDoNotGoAreGivenUpWaitingFor) {
  std::vector<RankEnd> ends;
  for (int rank = 0; rank < 4; ++rank) ends.push_back(Said(rank, 9, "done", ""));
  Evidence evidence = OneNode(ends);
  evidence.patience = 15;
  evidence.now += 14.9;
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.now += 0.2;
  EXPECT_EQ(Judge(evidence).kind, Kind::kDone);
  evidence.now = kFirst + 1.1;
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.asked = true;
  EXPECT_EQ(Judge(evidence).kind, Kind::kDone);
  // One of them still saves: no end.
  evidence.ends.pop_back();
  evidence.now += 100;
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  // With several nodes the ranks here speak for all.
  evidence = TwoNodes({Said(0, 9, "done", ""), Said(1, 9, "done", "")});
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.now += 15.1;
  EXPECT_EQ(Judge(evidence).kind, Kind::kDone);
}

TEST(Judge, WithSeveralNodesDoneRecordsOfOthersMayNeverShow) {
  Evidence evidence = TwoNodes({Said(0, 9, "done", ""), Said(1, 9, "done", "")});
  MpirunEnds(&evidence, 0);
  evidence.records_read = true;
  EXPECT_EQ(Judge(evidence).kind, Kind::kWait);
  evidence.now += 5.1;
  EXPECT_EQ(Judge(evidence).kind, Kind::kDone);
  evidence.ends.push_back(Said(2, 9, "environment_error", "E-IO", "n2"));
  EXPECT_EQ(Judge(evidence).kind, Kind::kFailed);
}

TEST(Judge, AStopThatTheLauncherWasAskedFor) {
  Evidence evidence = OneNode({Stopped(0), Stopped(1, SIGUSR1), Stopped(2), Stopped(3)});
  MpirunEnds(&evidence, 3 << 8, 0.2);
  evidence.asked = true;
  EXPECT_EQ(Judge(evidence).kind, Kind::kStopped);
}

TEST(Judge, ARankThatSomebodyElseAskedToStopIsLost) {
  Evidence evidence =
      OneNode({Stopped(0), Stopped(1), Stopped(2, SIGTERM, false, "n2"), Stopped(3)});
  MpirunEnds(&evidence, 3 << 8, 0.2);
  const Verdict verdict = Judge(evidence);
  EXPECT_EQ(verdict.kind, Kind::kFailed);
  EXPECT_EQ(verdict.failure.cause, Cause::kRankTerminated);
  EXPECT_EQ(verdict.failure.rank, 2);
  EXPECT_EQ(verdict.failure.host, "n2");
  EXPECT_THAT(verdict.failure.detail, HasSubstr("was sent SIGTERM"));
  EXPECT_EQ(verdict.failure.step, 11u);
}

TEST(Judge, ASignalToTheWholeJobStopsIt) {
  // Every rank.
  Evidence evidence =
      OneNode({Stopped(0, SIGTERM), Stopped(1, SIGTERM), Stopped(2, SIGTERM), Stopped(3, SIGTERM)});
  MpirunEnds(&evidence, 3 << 8, 0.2);
  evidence.allocation = true;
  EXPECT_EQ(Judge(evidence).kind, Kind::kStopped);
  evidence.allocation = false;  // nobody there who would ask so
  EXPECT_EQ(Judge(evidence).failure.cause, Cause::kRankTerminated);
  // A scheduler signals the job's steps, which are the daemons of other nodes and their ranks.
  evidence = TwoNodes(
      {Stopped(0), Stopped(1), Stopped(2, SIGTERM, true, "n2"), Stopped(3, SIGTERM, true, "n2")});
  MpirunEnds(&evidence, 3 << 8, 0.2);
  EXPECT_EQ(Judge(evidence).kind, Kind::kStopped);
  evidence.ends[3] = Stopped(3, 0, false, "n3");  // n2 alone: it is going down
  EXPECT_EQ(Judge(evidence).failure.cause, Cause::kRankTerminated);
  EXPECT_EQ(Judge(evidence).failure.rank, 2);
  evidence.ends[3] = Stopped(3, SIGTERM, false, "n2");  // two processes, not the node
  EXPECT_EQ(Judge(evidence).failure.cause, Cause::kRankTerminated);
}

}  // namespace
}  // namespace contrail::launcher
