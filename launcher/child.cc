#include "launcher/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "common/error.h"
#include "common/strings.h"

namespace contrail::launcher {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

struct Pipe {
  std::array<int, 2> ends = {-1, -1};
  bool Open() { return pipe2(ends.data(), O_CLOEXEC) == 0; }
  ~Pipe() {
    for (const int end : ends) {
      if (end >= 0) close(end);
    }
  }
};

constexpr double kLongestKill = 5;  // seconds
constexpr double kKillLook = 0.002;

// Between fork and exec: only calls that are safe there.
[[noreturn]] void Become(char** argv, char** envp, int output, int progress, pid_t parent,
                         const Child::Options& options) {
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the launcher died before the line above
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  if (!options.keep_stderr) dup2(output, STDERR_FILENO);
  if (progress >= 0) {
    // A worker that is not read from must not wait: the pipe is full, and that is all it tells.
    fcntl(progress, F_SETFL, O_NONBLOCK);
    if (progress == options.progress_fd) {
      fcntl(progress, F_SETFD, 0);
    } else {
      dup2(progress, options.progress_fd);
    }
  }
  const int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (oom >= 0) {
    [[maybe_unused]] const ssize_t n = write(oom, "500", 3);
    close(oom);
  }
  // What we ignore, or were told to, is not for those whom we ask to stop by signals.
  for (const int number : {SIGPIPE, SIGTERM, SIGUSR1}) signal(number, SIG_DFL);
  sigset_t mask;
  sigemptyset(&mask);
  if (options.block_sigterm) sigaddset(&mask, SIGTERM);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execve(argv[0], argv, envp);
  _exit(127);
}

}  // namespace

Child::Child(const Options& options) {
  Pipe output, progress;
  if (!output.Open() || (options.progress_fd >= 0 && !progress.Open())) {
    throw EnvironmentError("E-SPAWN", options.argv[0], ErrnoText(errno));
  }
  std::vector<std::string> argv = options.argv;
  std::vector<std::string> environment = options.environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  std::vector<char*> argv_pointers = Pointers(argv);
  std::vector<char*> environment_pointers = Pointers(environment);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    Become(argv_pointers.data(), environment_pointers.data(), output.ends[1], progress.ends[1],
           parent, options);
  }
  if (pid_ < 0) {
    throw EnvironmentError("E-SPAWN", options.argv[0], ErrnoText(errno),
                           "check the limit on processes (ulimit -u) and free memory");
  }
  output_ = std::exchange(output.ends[0], -1);
  progress_ = std::exchange(progress.ends[0], -1);
  pidfd_ = PidFd(pid_);
}

Child::~Child() {
  if (!Status()) {
    Kill(SIGKILL);
    // A process that is blocked in I/O does not end even so; it must not hold us up for ever.
    for (double waited = 0; !Status() && waited < kLongestKill; waited += kKillLook) {
      usleep(static_cast<useconds_t>(kKillLook * 1e6));
    }
  }
  close(output_);
  if (progress_ >= 0) close(progress_);
}

void Child::Kill(int signal) const {
  if (!status_) kill(pid_, signal);
}

std::optional<int> Child::Status() {
  int status = 0;
  if (!status_ && waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return status_;
}

std::string FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  for (const std::string& dir : Split(path != nullptr ? path : "/usr/bin:/bin", ':')) {
    const std::string candidate = (dir.empty() ? "." : dir) + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

}  // namespace contrail::launcher
