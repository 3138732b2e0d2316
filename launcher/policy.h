#pragma once
// What to do after an attempt failed: a table of causes, a restart budget, a back-off. Pure.

#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace contrail::launcher {

enum class Cause {
  kUserError,  // a worker's own words: the user's mistake
  kBug,        // a worker's own words: a broken promise
  kError,      // a worker's own words: a disk, a peer, a device
  kRankDied,   // without a word
  kRankHung,
  kStartFailed,  // no rank came to its first step
  kNodeLost,
  kBadSteps,  // several in a row whose loss or gradient was not finite
  kReplica,   // a rank held other weights than the rest: silent corruption
  kRankTerminated,  // asked to stop by somebody who did not ask the launcher: it saved, and is lost
};
// As in incidents.jsonl: "rank_died", "rank_hung", "start_failed", "error", "node_lost",
// "bad_steps", "replica", "rank_terminated".
const char* CauseName(Cause cause);

// The first cause of an attempt's end.
struct Failure {
  Cause cause = Cause::kRankDied;
  int rank = -1;
  std::string host;
  std::string error_id;  // "E-IO", or "signal 11" for deaths that a bug may explain; else empty
  std::string detail;    // one line for people
  uint64_t step = 0;     // last finished step seen
};

struct Decision {
  enum class Action { kRestart, kStop };
  Action action = Action::kStop;
  double backoff = 0;  // seconds before the next attempt
  int exit_code = 0;   // with kStop
  std::string why;     // for people
};

class RestartPolicy {
 public:
  struct Limits {
    int64_t max_restarts = 10;  // of this launcher
    int64_t tries_without_progress = 3;
    double longest_backoff = 60;  // seconds
  };
  // `committed_step`: the newest committed checkpoint at the start.
  RestartPolicy(Limits limits, uint64_t committed_step)
      : limits_(limits), committed_step_(committed_step) {}

  // `committed_step`: the newest committed checkpoint now; progress is that it moved.
  Decision Decide(const Failure& failure, uint64_t committed_step);

  int64_t restarts() const { return restarts_; }

 private:
  const Limits limits_;
  uint64_t committed_step_;
  int64_t restarts_ = 0;
  int64_t tries_ = 0;  // failures since the last progress
  std::string last_error_;
  uint64_t last_step_ = 0;
  std::set<uint64_t> bad_steps_;  // where attempts ended for bad steps
};

}  // namespace contrail::launcher
