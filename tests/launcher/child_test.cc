#include "launcher/child.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>

#include "common/clock.h"
#include "launcher/log_pump.h"

namespace contrail::launcher {
namespace {

std::string ReadAll(int fd) {
  std::string out;
  std::array<char, 256> buffer{};
  for (ssize_t n; (n = read(fd, buffer.data(), buffer.size())) > 0;) {
    out.append(buffer.data(), static_cast<size_t>(n));
  }
  return out;
}

std::optional<int> WaitFor(Child& child) {
  for (int i = 0; i < 500 && !child.Status(); ++i) usleep(10'000);
  return child.Status();
}

TEST(Child, OwnSessionAndMergedOutput) {
  Child::Options options;
  options.argv = {FindProgram("sh"), "-c",
                  "echo $EXTRA; echo err >&2; "
                  "cut -d' ' -f6 /proc/$$/stat; echo $$; cat /proc/self/oom_score_adj"};
  options.environment = {"EXTRA=1"};
  Child child(options);
  const std::string said = ReadAll(child.output());
  EXPECT_EQ(WaitFor(child), 0);
  const std::string pid = std::to_string(child.pid());
  EXPECT_EQ(said, "1\nerr\n" + pid + "\n" + pid + "\n500\n");
}

TEST(Child, StartsWithSigtermBlockedWhereAskedTo) {
  for (const bool block : {false, true}) {
    Child::Options options;
    options.argv = {FindProgram("grep"), "SigBlk", "/proc/self/status"};
    options.block_sigterm = block;
    Child child(options);
    EXPECT_EQ(ReadAll(child.output()),
              block ? "SigBlk:\t0000000000004000\n" : "SigBlk:\t0000000000000000\n");
  }
}

TEST(Child, ExitStatusOfAProcessThatIsNotOurs) {
  Child::Options options;
  options.argv = {FindProgram("sh"), "-c", "sleep 100 & echo $!; wait"};
  Child child(options);
  std::array<char, 64> buffer{};
  ASSERT_GT(read(child.output(), buffer.data(), buffer.size()), 0);
  const pid_t grandchild = std::stoi(buffer.data());
  const PidFd process(grandchild);
  ASSERT_TRUE(process.valid());
  EXPECT_FALSE(process.Exited());
  EXPECT_EQ(SessionMembers(child.pid()).size(), 2u);
  const double before = SystemClock().Monotonic();
  process.Kill(SIGKILL);
  pollfd entry = {process.fd(), POLLIN, 0};
  EXPECT_EQ(poll(&entry, 1, 1000), 1);
  EXPECT_LT(SystemClock().Monotonic() - before, 0.5);
  const auto status = process.ExitStatus(grandchild);
  // Kernels before 6.15 forget it once the parent has reaped the process.
  EXPECT_EQ(DescribeExit(status), status ? "killed by signal 9 (Killed)" : "gone");
  EXPECT_TRUE(process.Exited());
}

// What a process without pidfds sees of another that lives and then dies; 0 = all as it should be.
int WatchWithoutPidFd(pid_t pid) {
  const PidFd process(pid);
  if (process.valid()) return 1;
  if (process.Exited()) return 2;
  process.Kill(SIGKILL);
  for (int i = 0; i < 1000 && !process.Exited(); ++i) usleep(5'000);
  if (!process.Exited()) return 3;
  return PidFd(1 << 30).Exited() ? 0 : 4;  // no such number
}

// Runs WatchWithoutPidFd in a process that `forbid` has taken pidfds from.
int InAProcessThat(void (*forbid)()) {
  Child::Options options;
  options.argv = {FindProgram("sleep"), "100"};
  Child child(options);
  const pid_t watcher = fork();
  if (watcher == 0) {
    forbid();
    _exit(WatchWithoutPidFd(child.pid()));
  }
  int status = 0;
  while (waitpid(watcher, &status, WNOHANG) == 0) {
    child.Status();  // reaps it, as mpirun does with its ranks
    usleep(1000);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

TEST(PidFd, NoDescriptorsLeftIsNotDeath) {
  EXPECT_EQ(InAProcessThat([] {
              const rlimit none = {3, 3};
              setrlimit(RLIMIT_NOFILE, &none);
              while (open("/dev/null", O_RDONLY) >= 0) {
              }
            }),
            0);
}

TEST(PidFd, AKernelBefore53IsToldAndIsNotDeath) {
  EXPECT_TRUE(KernelHasPidFds());
  EXPECT_EQ(InAProcessThat([] {
              // As such a kernel answers: ENOSYS to this one call.
              std::array<sock_filter, 4> code = {
                  sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                  sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
                  sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                  sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
              const sock_fprog program = {static_cast<unsigned short>(code.size()), code.data()};
              prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
              if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(98);
              if (KernelHasPidFds()) _exit(97);
            }),
            0);
}

TEST(Child, ProcessStates) {
  Child::Options options;
  options.argv = {FindProgram("sleep"), "100"};
  Child child(options);
  usleep(50'000);
  EXPECT_EQ(SignsOf(child.pid()).state, 'S');
  kill(child.pid(), SIGSTOP);
  for (int i = 0; i < 100 && SignsOf(child.pid()).state != 'T'; ++i) usleep(10'000);
  EXPECT_EQ(SignsOf(child.pid()).state, 'T');
  child.Kill(SIGKILL);
  EXPECT_EQ(DescribeExit(WaitFor(child)), "killed by signal 9 (Killed)");
  EXPECT_EQ(SignsOf(child.pid()).state, '\0');
  EXPECT_FALSE(PidFd(child.pid()).valid());
}

TEST(Child, DiesWithTheLauncher) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t launcher = fork();
  if (launcher == 0) {
    Child::Options options;
    options.argv = {FindProgram("sleep"), "100"};
    Child child(options);
    const pid_t pid = child.pid();
    [[maybe_unused]] const ssize_t n = write(pipe_ends[1], &pid, sizeof pid);
    pause();
    _exit(0);
  }
  pid_t sleeper = 0;
  ASSERT_EQ(read(pipe_ends[0], &sleeper, sizeof sleeper), static_cast<ssize_t>(sizeof sleeper));
  const PidFd process(sleeper);
  kill(launcher, SIGKILL);
  pollfd entry = {process.fd(), POLLIN, 0};
  EXPECT_EQ(poll(&entry, 1, 2000), 1);
  waitpid(launcher, nullptr, 0);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST(FindProgram, PathOrNothing) {
  EXPECT_EQ(FindProgram("/bin/sh"), "/bin/sh");
  EXPECT_EQ(FindProgram("/bin/no-such-program"), "");
  EXPECT_EQ(FindProgram("no-such-program-at-all"), "");
  EXPECT_NE(FindProgram("sh").find("/sh"), std::string::npos);
}

TEST(LogPump, TagsLinesAndKeepsTheTail) {
  EXPECT_EQ(RetagLine("[1,3]<stderr>:E-IO: disk"), "rank 3: E-IO: disk");
  EXPECT_EQ(RetagLine("[1,12]<stdout>:a [2,1]<stderr>:b"), "rank 12: a [2,1]<stderr>:b");
  for (const char* plain : {"", "no tag", "[a,b]<stderr>:x", "[1,2] <std", "mpirun: [x]"}) {
    EXPECT_EQ(RetagLine(plain), plain);
  }
  char dir[] = "/tmp/contrail_log_XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  const std::string path = std::string(dir) + "/node_0.log";
  Child::Options options;
  options.argv = {FindProgram("sh"), "-c",
                  "for i in $(seq 90); do echo \"[1,$i]<stdout>:line $i\"; done; printf last"};
  {
    Child child(options);
    LogPump pump(child.output(), PosixFileSystem(), path);
    EXPECT_EQ(WaitFor(child), 0);
    for (int i = 0; i < 200 && (pump.Tail().empty() || pump.Tail().back() != "last"); ++i) {
      usleep(5'000);
    }
    EXPECT_EQ(pump.Tail().size(), 80u);
    EXPECT_EQ(pump.Tail().front(), "rank 12: line 12");
  }
  const std::string text = PosixFileSystem().ReadAll(path);
  EXPECT_TRUE(text.starts_with("rank 1: line 1\nrank 2: line 2\n"));
  EXPECT_TRUE(text.ends_with("rank 90: line 90\nlast\n"));
  PosixFileSystem().RemoveTree(dir);
}

// What the shards lack is shown on the screen; the ranks' other warnings stay in the log.
TEST(LogPump, WarningsAboutTheDataAreShown) {
  char dir[] = "/tmp/contrail_log_XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  Child::Options options;
  options.argv = {FindProgram("printf"),
                  "[1,0]<stderr>:warning: data: 3 of 9\n[1,0]<stderr>:warning: other\n"
                  "[1,1]<stderr>:warning: data: rank 1 does not speak\nlast\n"};
  testing::internal::CaptureStderr();
  {
    Child child(options);
    LogPump pump(child.output(), PosixFileSystem(), std::string(dir) + "/node_0.log");
    EXPECT_EQ(WaitFor(child), 0);
    for (int i = 0; i < 2000 && (pump.Tail().empty() || pump.Tail().back() != "last"); ++i) {
      usleep(5'000);
    }
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: data: 3 of 9\n");
  PosixFileSystem().RemoveTree(dir);
}

}  // namespace
}  // namespace contrail::launcher
