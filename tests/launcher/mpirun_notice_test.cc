#include "launcher/mpirun_notice.h"

#include <gmock/gmock.h>

namespace contrail::launcher {
namespace {

TEST(MpirunNotice, ASignal) {
  const auto notice = FindMpirunNotice(
      {"rank 0: step 3", "-----",
       "mpirun noticed that process rank 3 with PID 0 on node n2 exited on signal 9 (Killed).",
       "-----"});
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->rank, 3);
  EXPECT_EQ(notice->host, "n2");
  EXPECT_EQ(notice->detail, "killed by signal 9 (Killed)");
}

TEST(MpirunNotice, AnExitCode) {
  const auto notice = FindMpirunNotice({"mpirun detected that one or more processes exited with",
                                        "  Process name: [[57341,1],1]", "  Exit code:    5"});
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->rank, 1);
  EXPECT_EQ(notice->detail, "exited with code 5");
}

TEST(MpirunNotice, NothingElseIsOne) {
  EXPECT_FALSE(FindMpirunNotice({}));
  EXPECT_FALSE(FindMpirunNotice({"Exit code: 5", "rank 1: noticed that process rank x died"}));
}

}  // namespace
}  // namespace contrail::launcher
