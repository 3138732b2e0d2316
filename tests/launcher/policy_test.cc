#include "launcher/policy.h"

#include <gmock/gmock.h>

#include <vector>

#include "common/error.h"

namespace contrail::launcher {
namespace {

using ::testing::HasSubstr;
using Action = Decision::Action;

Failure Died(uint64_t step, const std::string& id = "") {
  Failure failure;
  failure.cause = id.empty() ? Cause::kRankDied : Cause::kError;
  failure.step = step;
  failure.error_id = id;
  return failure;
}

struct Row {
  const char* name;
  Cause cause;
  Action action;
  int exit_code;
};

TEST(RestartPolicy, FirstFailureByCause) {
  for (const Row& row : std::vector<Row>{
           {"user", Cause::kUserError, Action::kStop, kExitUser},
           {"bug", Cause::kBug, Action::kStop, kExitBug},
           {"error", Cause::kError, Action::kRestart, 0},
           {"died", Cause::kRankDied, Action::kRestart, 0},
           {"hung", Cause::kRankHung, Action::kRestart, 0},
           {"start", Cause::kStartFailed, Action::kRestart, 0},
           {"node", Cause::kNodeLost, Action::kRestart, 0},
           {"bad steps", Cause::kBadSteps, Action::kRestart, 0},
           {"replica", Cause::kReplica, Action::kRestart, 0},
       }) {
    RestartPolicy policy({}, 0);
    Failure failure;
    failure.cause = row.cause;
    const Decision decision = policy.Decide(failure, 0);
    EXPECT_EQ(decision.action, row.action) << row.name;
    EXPECT_EQ(decision.exit_code, row.exit_code) << row.name;
    EXPECT_EQ(decision.backoff, 0) << row.name;
  }
}

TEST(RestartPolicy, BadStepsAtTheSameSamplesTwiceStopWhateverHappenedInBetween) {
  RestartPolicy policy({}, 0);
  Failure bad = Died(42, "E-NONFINITE");
  bad.cause = Cause::kBadSteps;
  Failure elsewhere = bad;
  elsewhere.step = 57;
  EXPECT_EQ(policy.Decide(bad, 40).action, Action::kRestart);
  EXPECT_EQ(policy.Decide(Died(41), 40).action, Action::kRestart);
  EXPECT_EQ(policy.Decide(elsewhere, 50).action, Action::kRestart);
  const Decision decision = policy.Decide(bad, 60);
  EXPECT_EQ(decision.action, Action::kStop);
  EXPECT_EQ(decision.exit_code, kExitGaveUp);
  EXPECT_THAT(decision.why, HasSubstr("E-NONFINITE twice at step 42"));
}

TEST(RestartPolicy, BacksOffAndGivesUpWithoutProgress) {
  RestartPolicy policy({}, 50);
  std::vector<double> waits;
  for (uint64_t i = 0; i < 3; ++i) {
    const Decision decision = policy.Decide(Died(60 + i), 50);
    ASSERT_EQ(decision.action, Action::kRestart);
    waits.push_back(decision.backoff);
  }
  EXPECT_THAT(waits, ::testing::ElementsAre(0, 1, 2));
  const Decision last = policy.Decide(Died(61), 50);
  EXPECT_EQ(last.action, Action::kStop);
  EXPECT_EQ(last.exit_code, kExitGaveUp);
  EXPECT_THAT(last.why, HasSubstr("3 restarts in a row without a new checkpoint"));
}

TEST(RestartPolicy, ACommittedStepIsProgress) {
  RestartPolicy policy({.max_restarts = 100}, 0);
  for (uint64_t i = 1; i <= 50; ++i) {
    const Decision decision = policy.Decide(Died(10 * i + 3), 10 * i);
    ASSERT_EQ(decision.action, Action::kRestart) << i;
    EXPECT_EQ(decision.backoff, 0);
  }
}

TEST(RestartPolicy, TheBudgetHoldsWhateverTheProgress) {
  RestartPolicy policy({.max_restarts = 2}, 0);
  EXPECT_EQ(policy.Decide(Died(11), 10).action, Action::kRestart);
  EXPECT_EQ(policy.Decide(Died(21), 20).action, Action::kRestart);
  const Decision last = policy.Decide(Died(31), 30);
  EXPECT_EQ(last.exit_code, kExitGaveUp);
  EXPECT_THAT(last.why, HasSubstr("launcher.max_restarts = 2"));
  RestartPolicy none({.max_restarts = 0}, 0);
  EXPECT_EQ(none.Decide(Died(1), 0).action, Action::kStop);
}

TEST(RestartPolicy, TheSameErrorTwiceAtTheSameStepStops) {
  RestartPolicy policy({}, 0);
  EXPECT_EQ(policy.Decide(Died(17, "E-DATA-IMAGE"), 10).action, Action::kRestart);
  const Decision again = policy.Decide(Died(17, "E-DATA-IMAGE"), 10);
  EXPECT_EQ(again.exit_code, kExitGaveUp);
  EXPECT_EQ(again.why, "E-DATA-IMAGE twice at step 17");
  // Another step, another error, or no error of its own: not the same.
  RestartPolicy other({}, 0);
  EXPECT_EQ(other.Decide(Died(17, "E-IO"), 10).action, Action::kRestart);
  EXPECT_EQ(other.Decide(Died(18, "E-IO"), 10).action, Action::kRestart);
  EXPECT_EQ(other.Decide(Died(18, "E-NET"), 20).action, Action::kRestart);
  EXPECT_EQ(other.Decide(Died(18), 20).action, Action::kRestart);
  EXPECT_EQ(other.Decide(Died(18), 20).action, Action::kRestart);
}

TEST(RestartPolicy, AFencedAttemptLeavesTheRunToItsSuccessor) {
  RestartPolicy policy({}, 0);
  EXPECT_EQ(policy.Decide(Died(17, "E-FENCED"), 10).exit_code, kExitGaveUp);
}

TEST(RestartPolicy, BackOffIsCapped) {
  RestartPolicy policy({.max_restarts = 99, .tries_without_progress = 99}, 0);
  double wait = 0;
  for (uint64_t i = 0; i < 20; ++i) wait = policy.Decide(Died(i), 0).backoff;
  EXPECT_EQ(wait, 60);
}

}  // namespace
}  // namespace contrail::launcher
