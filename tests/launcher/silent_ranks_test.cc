// Ranks of other nodes that leave no record: to find that out takes no longer for a thousand of
// them.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <thread>

#include "common/clock.h"
#include "launcher/blame.h"
#include "launcher/end_records.h"

namespace contrail::launcher {
namespace {

TEST(SilentRanks, AreJudgedWithoutAfterTheSameTime) {
  for (const int ranks : {2, 592, 1024}) {
    Evidence evidence{.ranks = ranks, .one_node = false, .allocation = true, .host = "n1"};
    evidence.shown = 1;
    evidence.ends = {{.rank = 0, .host = "n1", .step = 10, .status = SIGKILL, .noticed = 100}};
    evidence.mpirun = 137 << 8;
    evidence.mpirun_ended = 102;
    evidence.records_read = true;
    evidence.now = 102.5;
    EXPECT_EQ(Judge(evidence).kind, Verdict::Kind::kWait) << ranks;
    evidence.now = 108;
    EXPECT_EQ(Judge(evidence).kind, Verdict::Kind::kFailed) << ranks;
  }
}

TEST(SilentRanks, AreLookedForAllAtOnce) {
  char root[] = "/tmp/contrail_silent_XXXXXX";
  ASSERT_NE(mkdtemp(root), nullptr);
  std::vector<int> ranks(1024);
  std::iota(ranks.begin(), ranks.end(), 0);
  const double begin = SystemClock().Monotonic();
  {
    EndRecordReader reader({root}, 1, ranks);
    while (!reader.LookedOnce()) {
      // Two seconds a rank would be half an hour.
      ASSERT_LT(SystemClock().Monotonic() - begin, 60);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(reader.Found().empty());
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace contrail::launcher
