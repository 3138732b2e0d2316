#pragma once
// What mpirun says about a rank that died: second-hand, but the only witness of a death on another
// node.

#include <deque>
#include <optional>
#include <string>

namespace contrail::launcher {

struct MpirunNotice {
  int rank = -1;
  std::string host;     // may be empty
  std::string detail;   // "killed by signal 9 (Killed)", "exited with code 5"
  bool killed = false;  // by a signal: it could not leave a word
};

// The first notice among mpirun's last lines, in Open MPI 4's words:
//   mpirun noticed that process rank 3 with PID 0 on node n2 exited on signal 9 (Killed).
//   ... Process name: [[57341,1],1] / Exit code:    5
std::optional<MpirunNotice> FindMpirunNotice(const std::deque<std::string>& lines);

}  // namespace contrail::launcher
