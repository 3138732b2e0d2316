#include "common/file_system.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "common/error.h"

namespace contrail {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class PosixTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "contrail_fs_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  template <typename Act>
  static std::string IoError(Act act, ErrorKind kind = ErrorKind::kEnvironment) {
    try {
      act();
    } catch (const Error& error) {
      EXPECT_EQ(error.id(), "E-IO");
      EXPECT_EQ(error.kind(), kind);
      return error.what();
    }
    return "";
  }

  FileSystem& files_ = PosixFileSystem();

 private:
  std::string folder_;
};

TEST_F(PosixTest, WritesAtOffsetsAndReadsBack) {
  const auto file = files_.Open(Path("a"), FileSystem::Mode::kExclusive);
  file->PWrite("world", 5, 6);
  file->PWrite("hello ", 6, 0);
  file->Sync();
  file->Close();
  EXPECT_EQ(files_.ReadAll(Path("a")), "hello world");
  EXPECT_EQ(files_.FileSize(Path("a")), 11u);
  char middle[3];
  files_.PRead(Path("a"), middle, 3, 4);
  EXPECT_EQ(std::string(middle, 3), "o w");
}

// Past the page cache where the file system lets us and the bytes are aligned, through it
// elsewhere: the same bytes come out, and several threads may write.
TEST_F(PosixTest, WritesThroughToTheDisk) {
  constexpr size_t kPage = 4096;
  alignas(kPage) static char bytes[5 * kPage + 100];
  for (size_t i = 0; i < sizeof bytes; ++i) bytes[i] = static_cast<char>(i * 7 + i / kPage);
  std::vector<std::string> folders = {Path("")};
  if (files_.Exists("/dev/shm")) folders.push_back("/dev/shm/contrail_fs_through_");
  for (const std::string& folder : folders) {
    for (const size_t shift : {size_t{0}, size_t{1}, kPage}) {   // of the place in the file
      for (const size_t skip : {size_t{0}, size_t{8}, kPage}) {  // of the place in memory
        const std::string path = folder + std::to_string(shift) + "." + std::to_string(skip);
        const auto file = files_.Open(path, FileSystem::Mode::kExclusive);
        const size_t size = sizeof bytes - skip;
        file->Reserve(shift + size);
        std::thread other([&] {
          file->PWriteThrough(bytes + skip + 2 * kPage, size - 2 * kPage, shift + 2 * kPage);
        });
        file->PWriteThrough(bytes + skip, 2 * kPage, shift);
        other.join();
        file->Sync();
        file->Close();
        const std::string expected = std::string(shift, '\0') + std::string(bytes + skip, size);
        EXPECT_TRUE(files_.ReadAll(path) == expected) << path;
        files_.RemoveFile(path);
      }
    }
  }
}

TEST_F(PosixTest, Modes) {
  files_.WriteAtomically(Path("a"), "0123");
  EXPECT_THAT(IoError([&] { files_.Open(Path("a"), FileSystem::Mode::kExclusive); }),
              AllOf(HasSubstr("E-IO: " + Path("a")), HasSubstr("File exists")));
  files_.Open(Path("a"), FileSystem::Mode::kShared)->PWrite("x", 1, 1);
  EXPECT_EQ(files_.ReadAll(Path("a")), "0x23");
  files_.Open(Path("a"), FileSystem::Mode::kTruncate)->PWrite("y", 1, 0);
  EXPECT_EQ(files_.ReadAll(Path("a")), "y");
}

TEST_F(PosixTest, FailuresSayWhatAndWhere) {
  EXPECT_THAT(IoError([&] { files_.ReadAll(Path("none")); }),
              AllOf(HasSubstr(Path("none")), HasSubstr("No such file")));
  files_.WriteAtomically(Path("a"), "abc");
  char buffer[8];
  EXPECT_THAT(IoError([&] { files_.PRead(Path("a"), buffer, 8, 0); }), HasSubstr(Path("a")));
  EXPECT_THAT(IoError([&] { files_.Rename(Path("none"), Path("b")); }), HasSubstr("rename to"));
  EXPECT_THAT(IoError([&] { files_.Open(Path("no/dir"), FileSystem::Mode::kTruncate); }),
              HasSubstr("create"));
  EXPECT_THAT(IoError([&] { files_.RemoveFile(Path("none")); }), HasSubstr("remove"));
}

// The limit on file sizes is a full disk that any user can have.
TEST_F(PosixTest, AWriteThatDoesNotFitThrows) {
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string bytes(1500, 'x');
  const std::string message = IoError(
      [&] {
        const auto file = files_.Open(Path("big"), FileSystem::Mode::kTruncate);
        file->PWrite(bytes.data(), bytes.size(), 0);
      },
      ErrorKind::kUser);  // for the user to cure
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, AllOf(HasSubstr(Path("big")), HasSubstr("could not write: File too large")));
}

TEST_F(PosixTest, AtomicWritesReplaceAndLeaveNothingElse) {
  files_.WriteAtomically(Path("a"), "old");
  files_.WriteAtomically(Path("a"), "new");
  EXPECT_EQ(files_.ReadAll(Path("a")), "new");
  EXPECT_THAT(files_.List(Path("")), ElementsAre("a"));
}

TEST_F(PosixTest, QuestionsHaveThreeAnswers) {
  files_.WriteAtomically(Path("a"), "abc");
  EXPECT_TRUE(files_.Exists(Path("a")));
  EXPECT_FALSE(files_.Exists(Path("none")));
  EXPECT_FALSE(files_.ReadIfThere(Path("none")));
  EXPECT_TRUE(files_.List(Path("none")).empty());
  EXPECT_EQ(files_.KindOf(Path("none")), EntryKind::kNone);
  // A file where a folder should be is no "no": the kernel says ENOTDIR, not ENOENT.
  EXPECT_THAT(IoError([&] { files_.Exists(Path("a/b")); }), HasSubstr("Not a directory"));
  EXPECT_THAT(IoError([&] { files_.List(Path("a")); }), HasSubstr("Not a directory"));
  EXPECT_THAT(IoError([&] { files_.ReadIfThere(Path("a/b")); }), HasSubstr("Not a directory"));
  EXPECT_THAT(IoError([&] { files_.KindOf(Path("a/b")); }), HasSubstr("Not a directory"));
}

TEST_F(PosixTest, OutOfDescriptorsIsNotAnEmptyFolder) {
  files_.WriteAtomically(Path("a"), "abc");
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit none{0, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::string listed = IoError([&] { files_.List(Path("")); });
  const std::string read = IoError([&] { files_.ReadIfThere(Path("a")); });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_THAT(listed, HasSubstr("Too many open files"));
  EXPECT_THAT(read, HasSubstr("Too many open files"));
}

TEST_F(PosixTest, AFileThatIsReplacedIsReadWhole) {
  files_.WriteAtomically(Path("a"), "short");
  const auto open = files_.OpenToRead(Path("a"));
  files_.WriteAtomically(Path("a"), std::string(10'000, 'x'));
  char old[5];
  open->PRead(old, 5, 0);
  EXPECT_EQ(std::string(old, 5), "short");
  EXPECT_EQ(open->size(), 5u);
  EXPECT_EQ(files_.ReadAll(Path("a")).size(), 10'000u);
  EXPECT_FALSE(files_.ReadAll("/proc/self/stat").empty());  // whose size is said to be 0
}

TEST_F(PosixTest, OneOfManyMakesANewFolder) {
  EXPECT_TRUE(files_.MakeNewDir(Path("claim")));
  EXPECT_FALSE(files_.MakeNewDir(Path("claim")));
}

TEST_F(PosixTest, LinksAreUnlinkedAndNeverFollowed) {
  files_.MakeDirs(Path("archive/step"));
  files_.WriteAtomically(Path("archive/step/f"), "precious");
  files_.MakeDirs(Path("x/y"));
  std::filesystem::create_symlink(Path("archive/step"), Path("x/y/link"));
  EXPECT_EQ(files_.KindOf(Path("x/y/link")), EntryKind::kLink);
  files_.RemoveTree(Path("x"));
  EXPECT_FALSE(files_.Exists(Path("x")));
  EXPECT_EQ(files_.ReadAll(Path("archive/step/f")), "precious");
  std::filesystem::create_symlink(Path("archive"), Path("top"));
  files_.RemoveTree(Path("top"));
  EXPECT_EQ(files_.KindOf(Path("top")), EntryKind::kNone);
  EXPECT_EQ(files_.ReadAll(Path("archive/step/f")), "precious");
}

TEST_F(PosixTest, Trees) {
  files_.MakeDirs(Path("x/y/z"));
  files_.MakeDirs(Path("x/y/z"));
  files_.MakeDir(Path("x/empty"));
  files_.WriteAtomically(Path("x/y/z/f"), "1");
  files_.WriteAtomically(Path("x/b"), "");
  EXPECT_THAT(files_.List(Path("x")), ElementsAre("b", "empty", "y"));
  EXPECT_TRUE(files_.List(Path("none")).empty());
  EXPECT_NE(IoError([&] { files_.RemoveDir(Path("x")); }), "");
  files_.RemoveTree(Path("x"));
  EXPECT_FALSE(files_.Exists(Path("x")));
  files_.SyncDir(Path(""));
}

}  // namespace
}  // namespace contrail
