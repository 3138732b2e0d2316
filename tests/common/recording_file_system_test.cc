#include "common/recording_file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace contrail {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

void Write(FileSystem& fs, const std::string& path, const std::string& text, bool sync) {
  auto file = fs.Open(path, FileSystem::Mode::kTruncate);
  file->PWrite(text.data(), text.size(), 0);
  if (sync) file->Sync();
  file->Close();
}

TEST(RecordingFileSystem, BehavesAsADisk) {
  RecordingFileSystem fs;
  EXPECT_THROW(Write(fs, "/a/x", "1", true), Error);
  fs.MakeDirs("/a/b");
  fs.MakeDir("/a/b");
  Write(fs, "/a/b/x", "12345", true);
  EXPECT_EQ(fs.ReadAll("/a/b/x"), "12345");
  EXPECT_THROW(fs.Open("/a/b/x", FileSystem::Mode::kExclusive), Error);
  fs.Open("/a/b/x", FileSystem::Mode::kShared)->PWrite("ab", 2, 7);
  EXPECT_EQ(fs.ReadAll("/a/b/x"), std::string("12345\0\0ab", 9));
  char byte;
  EXPECT_THROW(fs.PRead("/a/b/x", &byte, 1, 9), Error);
  EXPECT_THROW(fs.RemoveDir("/a/b"), Error);
  EXPECT_THROW(fs.RemoveFile("/a/b"), Error);
  fs.MakeDir("/c");
  Write(fs, "/c/y", "", false);
  EXPECT_THROW(fs.Rename("/a/b", "/c"), Error);  // not empty
  fs.Rename("/a/b", "/c/d");
  EXPECT_THAT(fs.List("/c"), ElementsAre("d", "y"));
  EXPECT_THAT(fs.List("/a"), IsEmpty());
  EXPECT_FALSE(fs.Exists("/a/b/x"));
  EXPECT_EQ(fs.FileSize("/c/d/x"), 9u);
  fs.RemoveTree("/c");
  EXPECT_THAT(fs.List("/"), ElementsAre("a"));
}

TEST(RecordingFileSystem, OnlyWhatWasSyncedSurvivesTheWorstCrash) {
  RecordingFileSystem fs;
  fs.MakeDir("/d");
  fs.SyncDir("/");
  Write(fs, "/d/synced", "s", true);
  Write(fs, "/d/unsynced", "u", false);
  fs.SyncDir("/d");
  Write(fs, "/d/nameless", "n", true);
  fs.Rename("/d/synced", "/d/renamed");
  const auto log = fs.log();
  const std::vector<size_t> pending = PendingOperations(log, log.size());
  const RecordingFileSystem after(
      CrashState({}, log, log.size(), {pending.begin(), pending.end()}));
  EXPECT_THAT(after.List("/d"), ElementsAre("synced", "unsynced"));
  EXPECT_EQ(after.ReadAll("/d/synced"), "s");
  EXPECT_EQ(after.ReadAll("/d/unsynced"), "");
  // And the best crash loses nothing.
  EXPECT_EQ(CrashState({}, log, log.size(), {}).Fingerprint(), fs.state().Fingerprint());
}

TEST(RecordingFileSystem, TornWrites) {
  RecordingFileSystem fs;
  Write(fs, "/x", std::string(2000, 'x'), false);
  const auto log = fs.log();
  ASSERT_EQ(log.size(), 2u);
  const RecordingFileSystem shorter(CrashState({}, log, 2, {}, {1, 1024, false}));
  EXPECT_EQ(shorter.ReadAll("/x"), std::string(1024, 'x'));
  const RecordingFileSystem zeros(CrashState({}, log, 2, {}, {1, 512, true}));
  EXPECT_EQ(zeros.ReadAll("/x"), std::string(512, 'x') + std::string(1488, '\0'));
}

TEST(FaultyFileSystem, FailsTheChosenOperationHalfWay) {
  RecordingFileSystem disk;
  FaultyFileSystem once(disk, 2, false);
  EXPECT_THROW(Write(once, "/x", "1234", true), Error);
  EXPECT_EQ(disk.ReadAll("/x"), "12");
  Write(once, "/x", "1234", true);
  EXPECT_EQ(disk.ReadAll("/x"), "1234");
  FaultyFileSystem gone(disk, 1, true);
  for (int i = 0; i < 3; ++i) EXPECT_THROW(gone.MakeDir("/d"), Error);
  EXPECT_TRUE(gone.Exists("/x"));
}

}  // namespace
}  // namespace contrail
