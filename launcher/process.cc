#include "launcher/process.h"

#include <dirent.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

namespace contrail::launcher {
namespace {

// linux/pidfd.h of kernel 6.15; Debian 12's header is older than its backported kernels.
struct PidFdInfo {
  uint64_t mask;
  uint64_t cgroup;
  uint32_t ids[11];
  int32_t exit_code;
};
static_assert(sizeof(PidFdInfo) == 64);
constexpr uint64_t kInfoExit = 1u << 3;
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidFdInfo);

// The fields of /proc/PID/stat after the name, which may hold spaces and brackets itself.
std::vector<std::string> StatFields(pid_t pid, const std::string& of = "/stat") {
  std::ifstream in("/proc/" + std::to_string(pid) + of);
  std::string text;
  std::getline(in, text, '\0');
  const size_t end = text.rfind(')');
  if (end == std::string::npos) return {};
  std::istringstream rest(text.substr(end + 1));
  std::vector<std::string> fields;
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

// Zeros where they cannot be read.
struct BytesMoved {
  uint64_t read = 0;
  uint64_t written = 0;
};
BytesMoved BytesOf(pid_t pid, const std::string& of) {
  std::ifstream in("/proc/" + std::to_string(pid) + of);
  BytesMoved bytes;
  std::string key;
  for (uint64_t value = 0; in >> key >> value;) {
    if (key == "rchar:") bytes.read = value;
    if (key == "wchar:") bytes.written = value;
  }
  return bytes;
}

constexpr size_t kState = 0;         // field 3 of proc(5)
constexpr size_t kSession = 3;       // field 6
constexpr size_t kSmallFaults = 7;   // field 10
constexpr size_t kLargeFaults = 9;   // field 12
constexpr size_t kUserTicks = 11;    // field 14
constexpr size_t kSystemTicks = 12;  // field 15
constexpr size_t kStarted = 19;      // field 22
constexpr size_t kExitCode = 49;     // field 52

}  // namespace

PidFd::PidFd(pid_t pid) {
  if (pid <= 0) return;
  fd_ = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd_ >= 0 || errno == ESRCH) return;
  // That there is no descriptor says nothing about the process.
  const std::vector<std::string> fields = StatFields(pid);
  if (fields.size() > kStarted) started_ = fields[kStarted];
  pid_ = pid;
}

PidFd::~PidFd() {
  if (fd_ >= 0) close(fd_);
}

PidFd& PidFd::operator=(PidFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(pid_, other.pid_);
  std::swap(started_, other.started_);
  return *this;
}

bool PidFd::Exited() const {
  if (fd_ >= 0) {
    pollfd entry = {fd_, POLLIN, 0};
    return poll(&entry, 1, 0) == 1;
  }
  if (pid_ == 0 || (kill(pid_, 0) != 0 && errno == ESRCH)) return true;
  const std::vector<std::string> fields = StatFields(pid_);
  if (fields.size() <= kStarted) return false;  // cannot be read, but something has that number
  const std::string& state = fields[kState];
  return state == "Z" || state == "X" || (!started_.empty() && fields[kStarted] != started_);
}

void PidFd::Kill(int signal) const {
  if (fd_ >= 0) {
    syscall(SYS_pidfd_send_signal, fd_, signal, nullptr, 0);
  } else if (!Exited()) {
    kill(pid_, signal);
  }
}

bool KernelHasPidFds() {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  if (fd >= 0) close(fd);
  return fd >= 0 || errno != ENOSYS;
}

std::optional<int> PidFd::ExitStatus(pid_t pid) const {
  // The pidfd knows once the parent has reaped the process, /proc until then.
  for (int tries = 0; tries < 2; ++tries) {
    PidFdInfo info{};
    info.mask = kInfoExit;
    if (fd_ >= 0 && ioctl(fd_, kGetInfo, &info) == 0 && (info.mask & kInfoExit) != 0) {
      return info.exit_code;
    }
    const std::vector<std::string> fields = StatFields(pid);
    if (fields.size() > kExitCode && fields[kState] == "Z") return std::stoi(fields[kExitCode]);
  }
  return std::nullopt;
}

std::string DescribeExit(std::optional<int> status) {
  if (!status) return "gone";
  if (WIFSIGNALED(*status)) {
    const int signal = WTERMSIG(*status);
    return "killed by signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
  }
  return "exited with code " + std::to_string(WEXITSTATUS(*status));
}

ProcessSigns SignsOf(pid_t pid) {
  const std::string main_thread = "/task/" + std::to_string(pid);
  const auto process = StatFields(pid);
  const auto fields = StatFields(pid, main_thread + "/stat");
  if (process.empty() || fields.size() <= kSystemTicks) return {};
  ProcessSigns signs;
  signs.state = process[kState][0];
  signs.cpu_seconds = (std::stod(fields[kUserTicks]) + std::stod(fields[kSystemTicks])) /
                      static_cast<double>(sysconf(_SC_CLK_TCK));
  const BytesMoved own = BytesOf(pid, main_thread + "/io");
  signs.moved = own.read + own.written + std::stoull(fields[kSmallFaults]) +
                std::stoull(fields[kLargeFaults]);
  signs.bytes_read = BytesOf(pid, "/io").read;
  return signs;
}

std::vector<pid_t> SessionMembers(pid_t session) {
  std::vector<pid_t> members;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return members;
  const std::string wanted = std::to_string(session);
  while (const dirent* entry = readdir(proc)) {
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, pid).ptr != end || pid <= 0) continue;
    const std::vector<std::string> fields = StatFields(pid);
    if (fields.size() > kSession && fields[kSession] == wanted && fields[kState] != "Z") {
      members.push_back(pid);
    }
  }
  closedir(proc);
  return members;
}

}  // namespace contrail::launcher
