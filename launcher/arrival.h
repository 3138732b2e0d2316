#pragma once
// Ranks that do not come up: before a rank has a progress word, what the kernel counts of its
// process tells whether it lives. Pure: fed with these counts, at any time.
//
// A start may take as long as it likes while it moves: shared libraries from a slow file system,
// hundreds of nodes that MPI brings together. One that does not is ended.

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace contrail::launcher {

// A process of an attempt that has no word yet.
struct Starter {
  pid_t pid = 0;
  int rank = -1;       // -1: mpirun or a helper of its
  char state = 0;      // the letter of /proc/PID/stat
  double cpu = 0;      // processor seconds of its main thread
  uint64_t moved = 0;  // bytes its main thread read and wrote, pages it got: only grows
};

class ArrivalWatch {
 public:
  struct Limits {
    double hang_seconds = 15;         // for a rank that is stopped (state T)
    double start_seconds = 120;       // without a sign
    double collective_seconds = 600;  // with processor time as the only sign of all; 0 = for ever
  };
  struct Late {
    const Starter* who = nullptr;  // one of those given; nullptr where nothing tells them apart
    double silent = 0;             // seconds
  };

  explicit ArrivalWatch(const Limits& limits) : limits_(limits) {}

  // `shown`: how many ranks have come up by now; `awake`: seconds that were looked at so far
  // (HangDetector::awake). What is late by then, if anything:
  //
  //   a rank without a sign of its own, whatever the others do: they wait for it
  //   mpirun and its helpers, while there is no rank
  //   all of them where they do nothing but use the processor, as ranks do that wait for others
  std::optional<Late> Look(const std::vector<Starter>& starters, size_t shown, double awake);

 private:
  struct Seen {
    double cpu = 0;
    uint64_t moved = 0;
    double since = 0;  // of its last sign
  };
  void Update(const std::vector<Starter>& starters, size_t shown, double awake);

  const Limits limits_;
  std::map<pid_t, Seen> seen_;
  size_t shown_ = 0;
  double moved_at_ = 0;  // anybody, or a new one appeared
};

}  // namespace contrail::launcher
