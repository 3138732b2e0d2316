#pragma once
// What Linux knows about a process that need not be our child.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace contrail::launcher {

// One process for ever, whatever happens to its number: an owned pidfd. Where the kernel gives none
// (before 5.3, or no descriptors left) its number and start time do, without something to wait on.
class PidFd {
 public:
  PidFd() = default;
  explicit PidFd(pid_t pid);
  ~PidFd();
  PidFd(PidFd&& other) noexcept { *this = std::move(other); }
  PidFd& operator=(PidFd&& other) noexcept;

  bool valid() const { return fd_ >= 0; }  // fd() becomes readable when the process ends
  int fd() const { return fd_; }
  bool Exited() const;          // true where it was gone from the start
  void Kill(int signal) const;  // nothing where it is gone

  // wait(2) status after the exit, where the kernel still tells (6.15 keeps it in the pidfd,
  // earlier ones only while the process is a zombie).
  std::optional<int> ExitStatus(pid_t pid) const;

 private:
  int fd_ = -1;
  // Without a descriptor:
  pid_t pid_ = 0;  // 0 = gone
  std::string started_;
};

// False on kernels before 5.3 (pidfd_open).
bool KernelHasPidFds();

// "killed by signal 9 (Killed)", "exited with code 1", or "gone" where the status is unknown.
std::string DescribeExit(std::optional<int> status);

// Signs of life that the kernel counts; zeros where there is no such process.
struct ProcessSigns {
  char state = 0;           // the letter of /proc/PID/stat (R S D T t Z X)
  double cpu_seconds = 0;   // of its main thread
  uint64_t moved = 0;       // bytes its main thread read and wrote, and pages it touched first
  uint64_t bytes_read = 0;  // by all of its threads
};
ProcessSigns SignsOf(pid_t pid);

// Every process of the session, the zombies left out.
std::vector<pid_t> SessionMembers(pid_t session);

}  // namespace contrail::launcher
