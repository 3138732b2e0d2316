#include "launcher/ledger.h"

#include <gmock/gmock.h>

namespace contrail::launcher {
namespace {

AttemptEnd Killed(double last_sign, double noticed, double gone, uint64_t step) {
  AttemptEnd end;
  end.failure.cause = Cause::kRankDied;
  end.failure.rank = 2;
  end.failure.host = "vm";
  end.failure.detail = "killed by signal 9 (Killed)";
  end.failure.step = step;
  end.last_sign = last_sign;
  end.noticed = noticed;
  end.gone = gone;
  return end;
}

JobView View(double now, bool up, bool training, uint64_t step) {
  JobView view;
  view.now = now;
  view.up = up;
  view.training = training;
  view.step = step;
  return view;
}

TEST(Ledger, PartsAddUp) {
  Ledger ledger;
  EXPECT_FALSE(ledger.Open(Killed(100, 100.1, 100.5, 57), 1, 4, 1e9));
  ledger.Decide("restart", 50, 4);
  EXPECT_FALSE(ledger.See(View(101, false, false, 0)));
  EXPECT_FALSE(ledger.See(View(102, true, false, 0)));
  EXPECT_FALSE(ledger.See(View(103.5, true, true, 0)));
  EXPECT_FALSE(ledger.See(View(104, true, true, 51)));
  EXPECT_FALSE(ledger.See(View(108, true, true, 57)));
  const auto incident = ledger.See(View(108.7, true, true, 58));
  ASSERT_TRUE(incident);
  EXPECT_EQ(incident->cause, "rank_died");
  EXPECT_EQ(incident->rank, 2);
  EXPECT_EQ(incident->action, "restart");
  EXPECT_EQ(incident->resumed_from, 50u);
  EXPECT_DOUBLE_EQ(incident->time, 1e9);
  EXPECT_NEAR(incident->detect, 0.1, 1e-9);
  EXPECT_NEAR(incident->stop, 0.4, 1e-9);
  EXPECT_NEAR(incident->restart, 1.5, 1e-9);
  EXPECT_NEAR(incident->load, 1.5, 1e-9);
  EXPECT_NEAR(incident->redone, 4.5, 1e-9);
  EXPECT_NEAR(incident->to_next_step, 8.7, 1e-9);
  const double parts =
      incident->detect + incident->stop + incident->restart + incident->load + incident->redone;
  EXPECT_NEAR(incident->to_next_step - parts, 0.7, 1e-9);  // the new step itself
  EXPECT_FALSE(ledger.open());
}

TEST(Ledger, NothingRedoneWhereTheCheckpointIsTheLastStep) {
  Ledger ledger;
  ledger.Open(Killed(0, 0, 0, 50), 1, 4, 0);
  ledger.Decide("restart", 50, 4);
  ledger.See(View(2, true, true, 0));
  const auto incident = ledger.See(View(3, true, true, 51));
  ASSERT_TRUE(incident);
  EXPECT_EQ(incident->redone, 0);
}

TEST(Ledger, ASecondFailureClosesTheFirstIncident) {
  Ledger ledger;
  ledger.Open(Killed(0, 0.1, 0.2, 57), 1, 4, 0);
  ledger.Decide("restart", 50, 4);
  ledger.See(View(3, true, false, 0));
  const auto first = ledger.Open(Killed(5, 5.1, 5.2, 0), 2, 4, 5);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->attempt, 1);
  EXPECT_NEAR(first->restart, 2.8, 1e-9);
  EXPECT_EQ(first->to_next_step, 0);
  EXPECT_TRUE(ledger.open());
  EXPECT_EQ(ledger.Close()->attempt, 2);
}

}  // namespace
}  // namespace contrail::launcher
