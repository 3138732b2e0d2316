#pragma once
// What to do after an attempt failed. Pure: time and progress are passed in.
//
// Four kinds of failure, four kinds of patience:
//
//   a mistake or a bug      a restart cures nothing: the run ends
//   step and data           twice at the same step, it will always fail there: the run ends
//   no word                 deaths without a cause: launcher.max_restarts in a row
//   surroundings            disks, nodes, memory, hangs: until launcher.outage_minutes have passed
//
// All but the first are counted since the last new checkpoint: progress fills everything up again.

#include <cstdint>
#include <set>
#include <string>
#include <utility>

namespace contrail::launcher {

enum class Cause {
  kUserError,  // a worker's own words: the user's mistake
  kBug,        // a worker's own words: a broken promise
  kError,      // a worker's own words: a disk, a peer, a device
  kRankDied,   // without a word
  kRankHung,
  kStartFailed,     // no rank came to its first step, or none could be started
  kBadSteps,        // several in a row whose loss or gradient was not finite
  kReplica,         // a rank held other weights than the rest: silent corruption
  kRankTerminated,  // asked to stop by somebody who did not ask the launcher: it saved, and is lost
};
// As in incidents.jsonl: "rank_died", "rank_hung", "start_failed", "error",
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

// How far the run is, as the policy needs it.
struct Progress {
  bool committed = false;  // the attempt committed a checkpoint
  bool training = false;   // the attempt came to its steps
  bool trained = false;    // so did this or an earlier attempt of the run
};

enum class Patience { kNone, kSameStep, kDeaths, kOutage };
Patience PatienceWith(const Failure& failure, const Progress& progress);

struct Decision {
  enum class Action { kRestart, kStop };
  Action action = Action::kStop;
  double backoff = 0;    // seconds before the next attempt
  int exit_code = 0;     // with kStop
  std::string why;       // for people
  bool curable = false;  // with kStop: another start, on other nodes or later, may go on
};

class RestartPolicy {
 public:
  struct Limits {
    int64_t max_restarts = 10;        // 0: none, whatever the failure
    double outage_seconds = 45 * 60;  // after the first failure
    int64_t fewest_tries = 3;         // an outage ends nothing before so many restarts
    double longest_backoff = 60;      // seconds
  };
  explicit RestartPolicy(Limits limits) : limits_(limits) {}

  // `now` in seconds, of any clock that never goes back.
  Decision Decide(const Failure& failure, const Progress& progress, double now);

 private:
  double Backoff() const;

  const Limits limits_;
  // Since the last new checkpoint:
  int64_t failures_ = 0;
  int64_t deaths_ = 0;
  double failing_since_ = 0;
  // Where failures of step and data were: the same samples give the same, whatever happened
  // between.
  std::set<std::pair<std::string, uint64_t>> seen_;
};

}  // namespace contrail::launcher
