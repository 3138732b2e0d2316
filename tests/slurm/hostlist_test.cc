#include "slurm/hostlist.h"

#include <gmock/gmock.h>

#include "common/error.h"

namespace contrail::slurm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(HostList, PlainNamesRangesAndPadding) {
  EXPECT_THAT(ExpandHostList("node7"), ElementsAre("node7"));
  EXPECT_THAT(ExpandHostList("node[1-3,7]"), ElementsAre("node1", "node2", "node3", "node7"));
  EXPECT_THAT(ExpandHostList("n[08-10],login"), ElementsAre("n08", "n09", "n10", "login"));
  EXPECT_THAT(ExpandHostList("gpu[1-2]-ib"), ElementsAre("gpu1-ib", "gpu2-ib"));
  EXPECT_THAT(ExpandHostList(""), SizeIs(0));
}

TEST(HostList, SeveralGroupsMultiplyTheLastOneFastest) {
  EXPECT_THAT(ExpandHostList("r[1-2]n[0-1]"), ElementsAre("r1n0", "r1n1", "r2n0", "r2n1"));
}

TEST(HostList, IllFormedTextIsTheUsersMistake) {
  for (const char* text : {"node[1-", "node[3-1]", "node1]", "a,,b", "node[x]", "node[1-99999999]",
                           "node[]", "node[1,]", "n[1-300]m[1-300]"}) {
    try {
      ExpandHostList(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-SLURM-HOSTLIST");
      EXPECT_EQ(error.exit_code(), kExitUser);
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
}

}  // namespace
}  // namespace contrail::slurm
