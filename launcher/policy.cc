#include "launcher/policy.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "common/error.h"

namespace contrail::launcher {
namespace {

// Errors by what they depend on. An id that is not here depends on the surroundings where its rank
// calls it an error of those, and is the user's where its rank says so.
struct Row {
  std::string_view id;
  Patience patience;
};
constexpr Row kTable[] = {
    // Of step and data alone.
    {"E-NONFINITE", Patience::kSameStep},
    {"E-DATA-IMAGE", Patience::kSameStep},
    {"E-DATA-TAR", Patience::kSameStep},
    {"E-DATA-LABEL", Patience::kSameStep},
    {"E-DATA-JSON", Patience::kSameStep},
    {"E-CKPT-CORRUPT", Patience::kSameStep},
    // Of the surroundings, even where it looks like the user's: what the run has had before.
    {"E-IO", Patience::kOutage},
    {"E-DATA-MISSING", Patience::kOutage},
    {"E-CONFIG-FILE", Patience::kOutage},
    {"E-RUN-NOT-SHARED", Patience::kOutage},
    {"E-RANKS-DISAGREE", Patience::kOutage},
    {"E-MPI-SIZE", Patience::kOutage},
    {"E-MEMORY", Patience::kOutage},
    {"E-THREADS", Patience::kOutage},
    {"E-TORCH", Patience::kOutage},
};

const Row* Find(std::string_view id) {
  const auto row = std::find_if(std::begin(kTable), std::end(kTable),
                                [id](const Row& candidate) { return candidate.id == id; });
  return row == std::end(kTable) ? nullptr : row;
}

std::string Minutes(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", seconds / 60);
  return text;
}

}  // namespace

const char* CauseName(Cause cause) {
  switch (cause) {
    case Cause::kUserError:
    case Cause::kBug:
    case Cause::kError:
      return "error";
    case Cause::kRankDied:
      return "rank_died";
    case Cause::kRankHung:
      return "rank_hung";
    case Cause::kStartFailed:
      return "start_failed";
    case Cause::kBadSteps:
      return "bad_steps";
    case Cause::kReplica:
      return "replica";
    case Cause::kRankTerminated:
      return "rank_terminated";
  }
  return "error";
}

Patience PatienceWith(const Failure& failure, const Progress& progress) {
  const Row* row = Find(failure.error_id);
  switch (failure.cause) {
    case Cause::kUserError:
      return row != nullptr && row->patience == Patience::kOutage && progress.trained
                 ? Patience::kOutage
                 : Patience::kNone;
    case Cause::kBug:
      return Patience::kNone;
    case Cause::kError:
      if (failure.error_id == "E-FENCED") return Patience::kNone;
      return row != nullptr ? row->patience : Patience::kOutage;
    case Cause::kRankHung:
    case Cause::kStartFailed:
      return Patience::kOutage;
    case Cause::kBadSteps:
      return Patience::kSameStep;
    case Cause::kRankDied:
      // A crash by the program's own signal; one in start-up has no step and no data.
      return !failure.error_id.empty() && progress.training ? Patience::kSameStep
                                                            : Patience::kDeaths;
    case Cause::kReplica:
    case Cause::kRankTerminated:
      return Patience::kDeaths;
  }
  return Patience::kDeaths;
}

// 0, 1, 2, 4 ... seconds: the first restart after progress is free.
double RestartPolicy::Backoff() const {
  if (failures_ <= 1) return 0;
  const auto doublings = static_cast<int>(std::min<int64_t>(failures_ - 2, 30));
  return std::min(limits_.longest_backoff, std::ldexp(1.0, doublings));
}

Decision RestartPolicy::Decide(const Failure& failure, const Progress& progress, double now) {
  const auto stop = [](int code, std::string why, bool curable = false) {
    return Decision{Decision::Action::kStop, 0, code, std::move(why), curable};
  };
  const Patience patience = PatienceWith(failure, progress);
  if (patience == Patience::kNone) {
    if (failure.cause == Cause::kUserError) return stop(kExitUser, "the run cannot go on as asked");
    if (failure.cause == Cause::kBug) return stop(kExitBug, "a bug");
    return stop(kExitGaveUp, "another launcher has the run");
  }
  if (progress.committed) failures_ = deaths_ = 0;
  if (++failures_ == 1) failing_since_ = now;
  // Errors before the first step all count as of step 0: what was overcome is not the same again.
  if (progress.committed) std::erase_if(seen_, [](const auto& seen) { return seen.second == 0; });
  if (patience == Patience::kSameStep && !seen_.insert({failure.error_id, failure.step}).second) {
    return stop(kExitGaveUp, failure.error_id + " twice at step " + std::to_string(failure.step));
  }
  const std::string max_restarts =
      "launcher.max_restarts = " + std::to_string(limits_.max_restarts);
  if (limits_.max_restarts == 0) return stop(kExitGaveUp, max_restarts + " allows none");
  if (patience == Patience::kOutage) {
    if (failures_ > limits_.fewest_tries && now - failing_since_ >= limits_.outage_seconds) {
      return stop(kExitGaveUp,
                  "launcher.outage_minutes = " + Minutes(limits_.outage_seconds) + " passed and " +
                      std::to_string(failures_ - 1) + " restarts brought no new checkpoint",
                  /*curable=*/true);
    }
  } else if (++deaths_ > limits_.max_restarts) {
    return stop(kExitGaveUp, max_restarts + " restarts in a row brought no new checkpoint");
  }
  const bool at_once = failure.cause == Cause::kRankTerminated && progress.committed;
  return {Decision::Action::kRestart, at_once ? 0 : Backoff(), 0, "restart", false};
}

}  // namespace contrail::launcher
