#include "launcher/policy.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "common/error.h"

namespace contrail::launcher {
namespace {

using ::testing::HasSubstr;
using Action = Decision::Action;

constexpr Progress kNothing = {.committed = false, .training = true, .trained = true};
constexpr Progress kCommitted = {.committed = true, .training = true, .trained = true};

Failure Of(Cause cause, uint64_t step = 17, const std::string& id = "") {
  Failure failure;
  failure.cause = cause;
  failure.step = step;
  failure.error_id = id;
  return failure;
}

TEST(RestartPolicy, PatienceByCauseAndId) {
  struct Row {
    Cause cause;
    const char* id;
    bool trained;
    Patience patience;
  };
  for (const Row& row : std::vector<Row>{
           {Cause::kBug, "E-BUG", true, Patience::kNone},
           {Cause::kUserError, "E-CONFIG-KEY", true, Patience::kNone},
           {Cause::kUserError, "E-DATA-IMAGE", true, Patience::kNone},
           {Cause::kUserError, "E-DATA-MISSING", false, Patience::kNone},
           {Cause::kUserError, "E-DATA-MISSING", true, Patience::kOutage},
           {Cause::kUserError, "E-IO", false, Patience::kNone},
           {Cause::kUserError, "E-IO", true, Patience::kOutage},
           {Cause::kError, "E-IO", false, Patience::kOutage},
           {Cause::kError, "E-CKPT-SAVE", true, Patience::kOutage},
           {Cause::kError, "E-CKPT-LOST", true, Patience::kOutage},
           {Cause::kError, "E-MPI-TIMEOUT", true, Patience::kOutage},
           {Cause::kError, "E-MEMORY", true, Patience::kOutage},
           {Cause::kError, "E-TORCH", true, Patience::kOutage},
           {Cause::kError, "E-THREADS", true, Patience::kOutage},
           {Cause::kError, "E-CKPT-CORRUPT", true, Patience::kSameStep},
           {Cause::kError, "E-FENCED", true, Patience::kNone},
           {Cause::kRankDied, "", true, Patience::kDeaths},
           {Cause::kRankDied, "signal 11", true, Patience::kSameStep},
           {Cause::kRankHung, "", true, Patience::kOutage},
           {Cause::kStartFailed, "E-SPAWN", true, Patience::kOutage},
           {Cause::kBadSteps, "E-NONFINITE", true, Patience::kSameStep},
           {Cause::kReplica, "E-REPLICA", true, Patience::kDeaths},
           {Cause::kRankTerminated, "", true, Patience::kDeaths},
       }) {
    const Progress progress = {.committed = false, .training = true, .trained = row.trained};
    EXPECT_EQ(PatienceWith(Of(row.cause, 17, row.id), progress), row.patience)
        << CauseName(row.cause) << " " << row.id << " " << row.trained;
  }
}

TEST(RestartPolicy, WhatARestartDoesNotCureEndsTheRun) {
  for (const auto& [cause, id, code] :
       std::vector<std::tuple<Cause, const char*, int>>{{Cause::kUserError, "E-RANKS", kExitUser},
                                                        {Cause::kBug, "E-BUG", kExitBug},
                                                        {Cause::kError, "E-FENCED", kExitGaveUp}}) {
    const Decision decision = RestartPolicy({}).Decide(Of(cause, 17, id), kNothing, 0);
    EXPECT_EQ(decision.action, Action::kStop) << id;
    EXPECT_EQ(decision.exit_code, code) << id;
    EXPECT_FALSE(decision.curable) << id;
  }
}

TEST(RestartPolicy, AnOutageIsOutlivedWithABackOff) {
  RestartPolicy policy({});
  const Failure failure = Of(Cause::kError, 0, "E-IO");
  std::vector<double> waits;
  double now = 1000;
  Decision decision;
  for (;;) {
    decision = policy.Decide(failure, kNothing, now);
    if (decision.action == Action::kStop) break;
    waits.push_back(decision.backoff);
    now += decision.backoff + 5;  // the attempt itself
  }
  EXPECT_GE(now - 1000, 45 * 60);
  EXPECT_LT(now - 1000, 47 * 60);
  EXPECT_EQ(std::vector<double>(waits.begin(), waits.begin() + 9),
            (std::vector<double>{0, 1, 2, 4, 8, 16, 32, 60, 60}));
  EXPECT_EQ(decision.exit_code, kExitGaveUp);
  EXPECT_TRUE(decision.curable);
  EXPECT_THAT(decision.why, HasSubstr("launcher.outage_minutes = 45 passed"));
}

TEST(RestartPolicy, AnOutageEndsNothingBeforeAFewTries) {
  RestartPolicy policy({.outage_seconds = 60});
  // Each of these ran for an hour between its checkpoint and its hang.
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(policy.Decide(Of(Cause::kRankHung), kNothing, 3600 * i).action, Action::kRestart);
  }
  EXPECT_EQ(policy.Decide(Of(Cause::kRankHung), kNothing, 4 * 3600).action, Action::kStop);
}

TEST(RestartPolicy, DeathsInARowUseUpTheRestarts) {
  RestartPolicy policy({.max_restarts = 3});
  double now = 0;
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(policy.Decide(Of(Cause::kRankDied, 60 + i), kNothing, ++now).action,
              Action::kRestart);
  }
  const Decision last = policy.Decide(Of(Cause::kRankDied, 61), kNothing, ++now);
  EXPECT_EQ(last.exit_code, kExitGaveUp);
  EXPECT_FALSE(last.curable);
  EXPECT_THAT(last.why, HasSubstr("launcher.max_restarts = 3 restarts in a row"));
}

TEST(RestartPolicy, ANewCheckpointFillsEverythingUp) {
  RestartPolicy policy({.max_restarts = 2, .outage_seconds = 10});
  for (uint64_t i = 1; i <= 1000; ++i) {
    const Cause cause = i % 2 == 0 ? Cause::kRankDied : Cause::kRankHung;
    const Decision decision =
        policy.Decide(Of(cause, 10 * i + 3), kCommitted, 100.0 * static_cast<double>(i));
    ASSERT_EQ(decision.action, Action::kRestart) << i;
    ASSERT_EQ(decision.backoff, 0) << i;
  }
}

TEST(RestartPolicy, NoRestartsMeansNone) {
  RestartPolicy policy({.max_restarts = 0});
  EXPECT_EQ(policy.Decide(Of(Cause::kRankDied), kCommitted, 0).action, Action::kStop);
  EXPECT_EQ(policy.Decide(Of(Cause::kRankHung), kCommitted, 0).action, Action::kStop);
}

TEST(RestartPolicy, OfStepAndDataTheSecondTimeIsTheLast) {
  for (const auto& [cause, id] :
       std::vector<std::pair<Cause, const char*>>{{Cause::kBadSteps, "E-NONFINITE"},
                                                  {Cause::kRankDied, "signal 11"},
                                                  {Cause::kError, "E-CKPT-CORRUPT"}}) {
    RestartPolicy policy({});
    EXPECT_EQ(policy.Decide(Of(cause, 42, id), kCommitted, 1).action, Action::kRestart) << id;
    EXPECT_EQ(policy.Decide(Of(cause, 57, id), kCommitted, 2).action, Action::kRestart) << id;
    EXPECT_EQ(policy.Decide(Of(Cause::kRankDied, 42), kCommitted, 3).action, Action::kRestart);
    const Decision again = policy.Decide(Of(cause, 42, id), kCommitted, 4);
    EXPECT_EQ(again.exit_code, kExitGaveUp) << id;
    EXPECT_EQ(again.why, std::string(id) + " twice at step 42");
  }
}

TEST(RestartPolicy, OfTheSurroundingsTheSecondTimeIsNotTheLast) {
  for (const char* id : {"E-IO", "E-MPI-TIMEOUT", "E-CKPT-SAVE", "E-REPLICA"}) {
    RestartPolicy policy({});
    const Cause cause = std::string(id) == "E-REPLICA" ? Cause::kReplica : Cause::kError;
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(policy.Decide(Of(cause, 0, id), kNothing, i).action, Action::kRestart) << id;
    }
  }
}

TEST(RestartPolicy, ACrashInStartUpIsADeath) {
  const Progress starting = {.committed = false, .training = false, .trained = true};
  RestartPolicy policy({});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(policy.Decide(Of(Cause::kRankDied, 0, "signal 7"), starting, i).action,
              Action::kRestart);
  }
}

TEST(RestartPolicy, ARankThatWasToldToStopIsReplacedAtOnce) {
  RestartPolicy policy({});
  policy.Decide(Of(Cause::kError, 3, "E-IO"), kNothing, 0);
  policy.Decide(Of(Cause::kError, 3, "E-IO"), kNothing, 1);
  EXPECT_EQ(policy.Decide(Of(Cause::kRankTerminated), kCommitted, 2).backoff, 0);
}

}  // namespace
}  // namespace contrail::launcher
