#include "launcher/host_room.h"

#include <gmock/gmock.h>

#include "common/error.h"

namespace contrail::launcher {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMega = 1 << 20;

std::string Refusal(const HostRoom& room, int ranks) {
  try {
    CheckHostRoom(room, ranks);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUser);
    return error.what();
  }
  return "";
}

TEST(HostRoom, SharedMemoryIsEnoughForUsAndForMpi) {
  EXPECT_EQ(Refusal({.shared_memory = 64 * kMega}, 8), "");
  EXPECT_EQ(Refusal({}, 8), "");  // cannot be told
  for (const uint64_t size : {4 * kMega, 8 * kMega}) {
    EXPECT_THAT(Refusal({.shared_memory = size}, 2), HasSubstr("E-SHM: /dev/shm: "));
    EXPECT_THAT(Refusal({.shared_memory = size}, 2), HasSubstr("2 ranks of this node need "));
    EXPECT_THAT(Refusal({.shared_memory = size}, 2), HasSubstr(" for MPI"));
  }
  EXPECT_EQ(Refusal({.shared_memory = 9 * kMega}, 2), "");
  EXPECT_THAT(Refusal({.shared_memory = 9 * kMega}, 64), HasSubstr("E-SHM"));
}

TEST(HostRoom, OpenFilesAreEnoughForMpirun) {
  EXPECT_EQ(Refusal({.open_files = 256}, 2), "");
  EXPECT_EQ(Refusal({.open_files = 1024}, 128), "");
  const std::string line = Refusal({.open_files = 24}, 2);
  EXPECT_THAT(line, HasSubstr("E-OPEN-FILES: ulimit -n: a process may have 24 files open"));
  EXPECT_THAT(line, HasSubstr("72 for 2 ranks"));
}

TEST(HostRoom, RanksAreSharedAmongNodes) {
  Config config;
  config.launcher.ranks = 9;
  EXPECT_EQ(RanksOfANode(config, std::nullopt), 9);
  slurm::Allocation allocation;
  EXPECT_EQ(RanksOfANode(config, allocation), 9);
  allocation.nodes.resize(2);
  EXPECT_EQ(RanksOfANode(config, allocation), 5);
}

TEST(HostRoom, OfThisHostIsKnown) {
  const HostRoom room = ReadHostRoom();
  EXPECT_TRUE(room.shared_memory);
  EXPECT_GT(room.open_files, 2u);
}

}  // namespace
}  // namespace contrail::launcher
