#include "launcher/requeue_rule.h"

#include <gtest/gtest.h>

#include <csignal>

#include "common/error.h"

namespace contrail::launcher {
namespace {

TEST(RequeueRule, OnlyAfterACommitAndNeverInALoop) {
  struct Row {
    const char* name;
    JobEnd end;
    Requeue requeue;
  };
  for (const Row& row : {
           Row{"done", {true, kExitDone, 0, true, false}, Requeue::kNo},
           Row{"time limit", {true, kExitStopped, SIGUSR1, true, false}, Requeue::kYes},
           Row{"time limit before a checkpoint",
               {true, kExitStopped, SIGUSR1, false, false},
               Requeue::kNoProgress},
           Row{"scancel", {true, kExitStopped, SIGTERM, true, false}, Requeue::kNo},
           Row{"no job", {false, kExitStopped, SIGUSR1, true, false}, Requeue::kNo},
           Row{"outage", {true, kExitGaveUp, 0, true, true}, Requeue::kYes},
           Row{"outage from the start", {true, kExitGaveUp, 0, false, true}, Requeue::kNo},
           Row{"deaths", {true, kExitGaveUp, 0, true, false}, Requeue::kNo},
           Row{"mistake", {true, kExitUser, 0, true, false}, Requeue::kNo},
       }) {
    EXPECT_EQ(RequeueAfter(row.end), row.requeue) << row.name;
  }
}

}  // namespace
}  // namespace contrail::launcher
