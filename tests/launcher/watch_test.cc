#include "launcher/watch.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "common/error.h"
#include "common/file_system.h"
#include "common/token.h"
#include "launcher/shared_memory.h"

namespace contrail::launcher {
namespace {

using monitor::Phase;
using monitor::ProgressBoard;

// A process that was given `argument`, and lives until it is killed.
class Process {
 public:
  explicit Process(const std::string& argument) {
    pid_ = fork();
    if (pid_ == 0) {
      setpgid(0, 0);  // what it starts ends with it, or it would keep the test's output open
      execl("/bin/sh", "sh", "-c", "sleep 100; :", argument.c_str(), nullptr);
      _exit(127);
    }
    // Its command line is its own once it has become the shell.
    const std::string path = "/proc/" + std::to_string(pid_) + "/cmdline";
    for (std::string words; !words.starts_with("sh");) words = PosixFileSystem().ReadAll(path);
  }
  ~Process() {
    kill(-pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  int pid() const { return pid_; }
  bool alive() const {
    const char state = SignsOf(pid_).state;
    return state != 'Z' && state != 0;
  }

 private:
  int pid_ = -1;
};

class WatchTest : public testing::Test {
 protected:
  static uint64_t OwnNamespace() {
    struct stat info {};
    stat("/proc/self/ns/pid", &info);
    return info.st_ino;
  }
  // What a worker writes as it comes up.
  void Show(int rank, int pid, uint64_t pid_namespace) {
    monitor::ProgressWord& word = board_->word(rank);
    word.rank = rank;
    word.pid = pid;
    word.pid_namespace = pid_namespace;
    word.phase = static_cast<uint32_t>(Phase::kTraining);
  }
  static void AwaitDeath(const Process& process) {
    const PidFd fd(process.pid());
    while (!fd.Exited()) usleep(1000);
  }

  const std::string path_ = SharedMemory("/run/of/a/test").Names(1, RandomToken()).board;
  Watch watch_{path_, 2, 2};
  std::unique_ptr<ProgressBoard> board_ = ProgressBoard::Open(path_, 2);
};

TEST_F(WatchTest, ARanksProcessIsWatchedAndKilled) {
  const Process rank(path_);
  Show(1, rank.pid(), OwnNamespace());
  EXPECT_FALSE(watch_.Look(1).up);
  ASSERT_EQ(watch_.view().ranks.size(), 1u);
  EXPECT_EQ(watch_.view().ranks[0].pid, rank.pid());
  EXPECT_FALSE(watch_.view().ranks[0].exited);
  EXPECT_EQ(watch_.Descriptors().size(), 1u);
  watch_.KillAll();
  AwaitDeath(rank);
  EXPECT_TRUE(watch_.Look(2).ranks[0].exited);
  EXPECT_EQ(watch_.ExitStatus(1), SIGKILL);
  EXPECT_TRUE(watch_.Descriptors().empty());
}

TEST_F(WatchTest, AStrangersNumberIsNotTouched) {
  const Process rank(path_);
  const Process stranger("something else");
  Show(0, rank.pid(), OwnNamespace());
  watch_.Look(1);
  Show(0, stranger.pid(), OwnNamespace());
  // The rank of that number must be gone: somebody else has it.
  EXPECT_TRUE(watch_.Look(2).ranks[0].exited);
  EXPECT_EQ(watch_.view().ranks[0].pid, 0);
  EXPECT_FALSE(watch_.ExitStatus(0));
  watch_.KillAll();
  EXPECT_TRUE(stranger.alive());
}

TEST_F(WatchTest, ANumberOfAnotherNamespaceMeansNothingHere) {
  const Process stranger(path_);
  Show(0, stranger.pid(), OwnNamespace() + 1);
  EXPECT_FALSE(watch_.Look(1).ranks[0].exited);
  EXPECT_EQ(watch_.view().ranks[0].pid, 0);
  EXPECT_TRUE(watch_.Descriptors().empty());
  watch_.KillAll();
  EXPECT_TRUE(stranger.alive());
}

TEST_F(WatchTest, LastWordsAreThereWithTheDeath) {
  const Process rank(path_);
  Show(0, rank.pid(), OwnNamespace());
  watch_.Look(1);
  EXPECT_FALSE(watch_.LastWords(0));
  // Said, but killed before it could change its phase.
  board_->Say(0, monitor::EndRecordText({.outcome = "bug", .error_id = "E-BUG"}));
  kill(rank.pid(), SIGKILL);
  AwaitDeath(rank);
  watch_.Look(2);
  ASSERT_TRUE(watch_.LastWords(0));
  EXPECT_EQ(watch_.LastWords(0)->error_id, "E-BUG");
}

TEST(SharedMemory, AnotherDirectoryOfTheSamePathHasOtherNames) {
  const std::string base = ::testing::TempDir() + "shared_memory_" + RandomToken();
  const std::string path = base + "/run", other = base + "/other";
  FileSystem& fs = PosixFileSystem();
  fs.MakeDirs(path);
  fs.MakeDirs(other);
  const std::string before = SharedMemory(path).Names(1, "owner").board;
  EXPECT_EQ(SharedMemory(path).Names(1, "owner").board, before);
  fs.Rename(path, base + "/away");
  fs.Rename(other, path);
  EXPECT_NE(SharedMemory(path).Names(1, "owner").board, before);
  fs.RemoveTree(base);
}

TEST(SharedMemory, NamesAreTakenOnceAndOnlyOursGo) {
  const std::string run = "/run/of/a/test/" + RandomToken();
  const SharedMemory memory(run);
  const SharedNames names = memory.Names(3, RandomToken());
  MakeScratch(names.scratch);
  EXPECT_THROW(MakeScratch(names.scratch), Error);
  struct stat info {};
  ASSERT_EQ(stat(names.scratch.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  const auto board = ProgressBoard::Make(names.board, 1, ProgressBoard::Maker::kLauncher);
  EXPECT_THROW(Watch(names.board, 1, 1), Error);
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(chown(names.board.c_str(), 12345, 12345), 0);
  }
  memory.RemoveAll();
  EXPECT_NE(stat(names.scratch.c_str(), &info), 0);
  EXPECT_EQ(stat(names.board.c_str(), &info) == 0, root);
  unlink(names.board.c_str());
}

}  // namespace
}  // namespace contrail::launcher
