// Whether an attempt may still write.
#include "worker/fence.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "common/recording_file_system.h"
#include "monitoring/run_files.h"

namespace contrail::worker {
namespace {

TEST(Fence, ComparesOwners) {
  RecordingFileSystem disk;
  disk.MakeDirs("/run");
  const auto id = [&](const Writer& writer, const FileSystem& fs) {
    try {
      CheckFence(writer, fs);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kEnvironment);
      return error.id();
    }
    return std::string();
  };
  const Writer bare = {{"/run"}, 2, "aa", false};
  const Writer supervised = {{"/run"}, 2, "aa", true};
  EXPECT_EQ(id(bare, disk), "");
  EXPECT_EQ(id(supervised, disk), "E-LEASE");  // gone: it cannot be told
  struct Case {
    const char* owner;
    int attempt;
    const char* of_bare;
    const char* of_supervised;
  };
  for (const Case& one :
       {Case{"aa", 2, "", ""}, Case{"aa", 1, "", ""},  // not renewed yet
        Case{"bb", 1, "", "E-FENCED"}, Case{"bb", 2, "", "E-FENCED"},
        Case{"bb", 3, "E-FENCED", "E-FENCED"}, Case{"aa", 3, "E-FENCED", "E-FENCED"}}) {
    monitor::WriteLease({"/run"}, {.owner = one.owner, .attempt = one.attempt}, disk);
    EXPECT_EQ(id(bare, disk), one.of_bare) << one.owner << one.attempt;
    EXPECT_EQ(id(supervised, disk), one.of_supervised) << one.owner << one.attempt;
  }
  monitor::WriteLease({"/run"}, {.owner = "aa", .attempt = 2}, disk);
  FaultyFileSystem sick(disk);
  sick.FailQuestions("lease.json", EIO, 1);
  EXPECT_EQ(id(supervised, sick), "E-IO");
  disk.WriteAtomically("/run/lease.json", "{\"owner\":");
  EXPECT_EQ(id(supervised, disk), "E-LEASE");
}

}  // namespace
}  // namespace contrail::worker
