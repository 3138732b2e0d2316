#include "common/leashed_file_system.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>

#include "common/error.h"
#include "common/recording_file_system.h"

namespace contrail {
namespace {

int ErrnoOf(const std::function<void()>& work) {
  try {
    work();
  } catch (const IoError& error) {
    return error.number();
  }
  return 0;
}

TEST(LeashedFileSystem, CountsWhatComesBackAndIsCut) {
  RecordingFileSystem disk;
  LeashedFileSystem fs(disk);
  fs.MakeDirs("/a");
  uint64_t before = fs.done();
  const auto file = fs.Open("/a/file", FileSystem::Mode::kExclusive);
  file->PWrite("text", 4, 0);
  file->Sync();
  EXPECT_EQ(fs.done(), before + 3);
  EXPECT_EQ(fs.ReadAll("/a/file"), "text");
  const auto open = fs.OpenToRead("/a/file");
  before = fs.done();
  char byte = 0;
  open->PRead(&byte, 1, 0);
  EXPECT_EQ(fs.done(), before + 1);
  // What fails has come back, too.
  EXPECT_THROW(fs.RemoveFile("/a/none"), IoError);
  EXPECT_EQ(fs.done(), before + 2);

  fs.Cut();
  before = fs.done();
  const size_t operations = disk.log().size();
  EXPECT_EQ(ErrnoOf([&] { file->PWrite("more", 4, 4); }), ECANCELED);
  EXPECT_EQ(ErrnoOf([&] { file->Sync(); }), ECANCELED);
  EXPECT_EQ(ErrnoOf([&] { fs.Rename("/a/file", "/a/other"); }), ECANCELED);
  EXPECT_EQ(ErrnoOf([&] { fs.WriteAtomically("/a/new", "text"); }), ECANCELED);
  EXPECT_EQ(ErrnoOf([&] { fs.RemoveTree("/a"); }), ECANCELED);
  EXPECT_EQ(ErrnoOf([&] { fs.Exists("/a"); }), ECANCELED);
  open->PRead(&byte, 1, 3);
  EXPECT_EQ(byte, 't');
  EXPECT_EQ(disk.log().size(), operations);
}

}  // namespace
}  // namespace contrail
