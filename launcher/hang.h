#pragma once
// Silence -> which rank hangs, and how. Pure: fed with what the progress words say, at any time.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "monitoring/progress_word.h"

namespace contrail::launcher {

// One rank as last seen.
struct RankView {
  int rank = -1;
  int pid = 0;
  monitor::Phase phase = monitor::Phase::kAbsent;
  uint64_t step = 0;
  uint64_t collective = 0;       // last entered; those up to it may run in the background
  uint64_t collective_done = 0;  // all up to this one are finished
  monitor::Operation operation = monitor::Operation::kNone;  // of the oldest unfinished one
  double time = 0;                                           // CLOCK_MONOTONIC of its last change
  double loss = 0;
  double samples_per_second = 0;
  uint64_t committed_step = 0;
  uint64_t total_steps = 0;
  bool exited = false;
};

struct Hang {
  int rank = -1;          // the culprit; -1 where all ranks wait in the same collective
  double last_sign = 0;   // CLOCK_MONOTONIC of its last sign of life
  bool starting = false;  // it never came to its first step
  // "rank 2 stopped (state T) before collective 118 (reduce_scatter), silent for 15.2 s"
  std::string detail;
};

// Of silent ranks the culprit: the lowest collective entered; among equals one outside of the
// collective, then one whose process is stopped (T), blocked in I/O (D) or spinning outside; -1
// where nothing tells them apart. `states` are the letters of /proc/PID/stat, one a rank.
int Culprit(const std::vector<RankView>& ranks, const std::vector<char>& states);

// "stopped (state T)", "blocked in I/O (state D)", ...
std::string StateText(char state);

class HangDetector {
 public:
  struct Limits {
    double hang_seconds = 15;    // silence in a step, at least; five median steps, if longer
    double start_seconds = 120;  // from Start to the first finished step, and to save at the end
  };
  HangDetector(Limits limits, double start) : limits_(limits), start_(start), last_look_(start) {}

  // What is silent for too long by now, if anything. Ranks that exited, are done or failed are
  // not looked at. When we ourselves were not running (a suspended machine), silence starts anew.
  // `state` gives the letter of /proc/PID/stat and is asked for silent ranks only. A stopped
  // process (T) does not get the long limits of start and saving: it will not wake up by itself.
  template <typename ProcessState>
  std::optional<Hang> Look(const std::vector<RankView>& ranks, double now, ProcessState state);

  double MedianStep() const;  // seconds; 0 before the second step
  // Silence allowed in a step.
  double StepLimit() const;

 private:
  struct Seen {
    RankView view;
    double changed = 0;     // when a look found it changed
    double stepped = 0;     // time of the last new step
    bool stepping = false;  // a step was finished since training began or went on
  };
  // Updates seen_ and quiet_; the ranks that are silent too long.
  std::vector<RankView> Silent(const std::vector<RankView>& ranks, double now);
  Hang Describe(const std::vector<RankView>& watched, const std::vector<char>& states,
                double now) const;

  const Limits limits_;
  double start_;
  double last_look_;
  bool any_steps_ = false;  // a step was finished in this attempt
  std::map<int, Seen> seen_;
  std::vector<RankView> quiet_;  // in start or saving, for longer than a step may be silent
  std::deque<double> steps_;     // durations of the last steps
};

template <typename ProcessState>
std::optional<Hang> HangDetector::Look(const std::vector<RankView>& ranks, double now,
                                       ProcessState state) {
  std::vector<RankView> silent = Silent(ranks, now);
  for (const RankView& view : quiet_) {
    if (silent.empty() && state(view.pid) == 'T') silent = {view};
  }
  if (silent.empty()) return std::nullopt;
  std::vector<char> states;
  for (const RankView& view : silent) states.push_back(state(view.pid));
  return Describe(silent, states, now);
}

}  // namespace contrail::launcher
