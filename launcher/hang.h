#pragma once
// No progress -> which rank hangs, and how. Pure: fed with what the progress words say, at any
// time.
//
// Time counts as silence only while we look: each look adds the time since the one before, at most
// kMostPerLook. So a machine, a container or a launcher that was stopped finds no hang when it
// wakes up, and a slow looker still finds every hang, later.

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "monitoring/progress_word.h"

namespace contrail::launcher {

// One rank as last seen.
struct RankView {
  int rank = -1;
  int pid = 0;  // 0 where its number means nothing here
  monitor::Phase phase = monitor::Phase::kAbsent;
  monitor::Activity activity = monitor::Activity::kStarting;
  bool blocked = false;  // the main thread is inside a collective
  uint64_t step = 0;
  uint64_t collective = 0;       // last entered; those up to it may run in the background
  uint64_t collective_done = 0;  // all up to this one are finished
  monitor::Operation operation = monitor::Operation::kNone;  // of the oldest unfinished one
  uint64_t work = 0;                                         // bytes, samples: only grows
  double time = 0;                                           // CLOCK_MONOTONIC of its last change
  double loss = 0;
  double samples_per_second = 0;
  uint64_t committed_step = 0;
  uint64_t total_steps = 0;
  bool exited = false;
};

struct Hang {
  int rank = -1;          // the culprit; -1 where nothing tells the ranks apart
  double silent = 0;      // seconds since its last progress
  bool starting = false;  // it never came to its steps
  // "rank 2 stopped (state T), computing, before collective 118 (reduce_scatter), silent for 15.2
  // s"
  std::string detail;
};

// Of silent ranks the culprit: the lowest collective entered; among equals one outside of the
// collective, then one whose process is stopped (T), held by a debugger (t) or blocked in I/O (D);
// -1 where nothing tells them apart. `states` are the letters of /proc/PID/stat, one a rank.
int Culprit(const std::vector<RankView>& ranks, const std::vector<char>& states);

// "stopped (state T)", "blocked in I/O (state D)", ...
std::string StateText(char state);

// How long ranks were silent and went on all the same, by what they did. It outlives attempts: a
// run that needs its time once will need it again. A gap is forgotten when a hundred times its
// length passed without another of at least half of it, so that one stall does not blind us for
// ever.
class LearnedLimits {
 public:
  void Learn(monitor::Activity activity, double gap, double now);
  double Longest(monitor::Activity activity) const;

 private:
  struct Gap {
    double longest = 0;
    double seen = 0;
  };
  std::array<Gap, 16> gaps_;
};

class HangDetector {
 public:
  static constexpr double kMostPerLook = 1;

  struct Limits {
    double hang_seconds = 15;         // computing
    double start_seconds = 120;       // starting, loading, waiting for data
    double save_seconds = 120;        // in a save that is waited for
    double collective_seconds = 600;  // a rank that computes is slow until then; 0 = for ever
    bool other_nodes = false;         // there are ranks that are not seen
  };
  // What the kernel says of a process: the letter of /proc/PID/stat, the processor time of its main
  // thread, and the bytes that all of its threads have read. 0 where it does not say.
  struct Facts {
    char state = 0;
    double cpu_seconds = 0;
    uint64_t bytes_read = 0;
  };
  using Ask = std::function<Facts(int pid)>;

  HangDetector(const Limits& limits, LearnedLimits& learned, double now)
      : limits_(limits), learned_(learned), last_look_(now) {}

  // What has been silent for too long by now, if anything. Ranks that exited, are done or failed
  // are not looked at, and of the others:
  //
  //   in a collective      no limit of their own while anybody here is outside of it; where nobody
  //                        is, hang_seconds, or start_seconds if ranks of other nodes may be
  //   computing            hang_seconds
  //   files, data, start   start_seconds, save_seconds
  //   stopped (state T)    hang_seconds, wherever it stands: it does not wake up by itself
  //
  // Bytes that a process reads are progress to a rank that starts, reads or waits for data. A limit
  // grows to twice the longest silence that ended well (up to collective_seconds). A rank outside
  // of a collective whose main thread uses the processor or waits for it, or that a debugger holds,
  // is slow and not hung.
  std::optional<Hang> Look(const std::vector<RankView>& ranks, double now, const Ask& ask);

  double awake() const { return awake_; }  // seconds that we looked, since the start
  double LimitOf(const RankView& view) const;

 private:
  struct Seen {
    RankView view;
    double since = 0;  // awake() of its last progress
    // The processor time at an earlier look of this silence.
    bool marked = false;
    bool burning = false;
    double mark_at = 0;
    double mark_cpu = 0;
    // Bytes read by an earlier look of this silence.
    std::optional<uint64_t> mark_read;
    // Asked twice a second at most.
    double asked = -1;
    Facts facts;
  };

  void Update(const std::vector<RankView>& ranks, double now, double passed);
  double Grown(double limit, monitor::Activity activity) const;
  double Silence(const Seen& seen) const { return awake_ - seen.since; }
  bool Over(double silence, double limit) const;
  void AskFacts(Seen& seen, const Ask& ask) const;
  bool Reads(Seen& seen, const Ask& ask) const;
  bool IsSlow(Seen& seen, double limit, const Ask& ask) const;
  Hang Describe(const std::vector<const Seen*>& ranks) const;

  const Limits limits_;
  LearnedLimits& learned_;
  double last_look_;
  double awake_ = 0;
  std::map<int, Seen> seen_;  // those that are watched
};

}  // namespace contrail::launcher
