#pragma once
// The one child of the launcher: mpirun, in a session of its own.

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "launcher/process.h"

namespace contrail::launcher {

class Child {
 public:
  struct Options {
    std::vector<std::string> argv;         // argv[0] is a path (FindProgram)
    std::vector<std::string> environment;  // "NAME=value", added to ours for the child alone
    bool keep_stderr = false;              // stderr stays ours; output() is stdout alone
    bool block_sigterm = false;            // the child starts with SIGTERM blocked
    int progress_fd = -1;  // the descriptor (3 or more) under which it finds a pipe to progress()
  };
  // Its stdin is /dev/null, stdout and stderr are the pipe output(). It is killed when the calling
  // thread ends, and is a likelier victim of the out-of-memory killer than we are. Throws
  // EnvironmentError E-SPAWN.
  explicit Child(const Options& options);
  ~Child();  // kills and reaps what is left of it
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  int output() const { return output_; }      // read end; the caller never closes it
  int progress() const { return progress_; }  // read end, -1 where none was asked for
  const PidFd& pidfd() const { return pidfd_; }
  void Kill(int signal) const;
  // Reaps without waiting: the wait(2) status once it has exited.
  std::optional<int> Status();

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  int progress_ = -1;
  PidFd pidfd_;
  std::optional<int> status_;
};

// The absolute path of a program: `name` itself where it holds a slash, else the first in PATH.
// An empty text where there is none.
std::string FindProgram(const std::string& name);

}  // namespace contrail::launcher
