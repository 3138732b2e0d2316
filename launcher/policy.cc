#include "launcher/policy.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace contrail::launcher {

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
    case Cause::kNodeLost:
      return "node_lost";
    case Cause::kBadSteps:
      return "bad_steps";
    case Cause::kReplica:
      return "replica";
    case Cause::kRankTerminated:
      return "rank_terminated";
  }
  return "error";
}

Decision RestartPolicy::Decide(const Failure& failure, uint64_t committed_step) {
  const auto stop = [](int code, std::string why) {
    return Decision{Decision::Action::kStop, 0, code, std::move(why)};
  };
  // A restart cures neither.
  if (failure.cause == Cause::kUserError) return stop(kExitUser, "the run cannot go on as asked");
  if (failure.cause == Cause::kBug) return stop(kExitBug, "a bug");

  if (failure.error_id == "E-FENCED") return stop(kExitGaveUp, "another launcher has the run");

  if (committed_step > committed_step_) tries_ = 0;
  committed_step_ = committed_step;
  ++tries_;
  // The same samples give the same bad step, whatever happened in between.
  const bool bad_again =
      failure.cause == Cause::kBadSteps && !bad_steps_.insert(failure.step).second;
  const bool again = bad_again || (!failure.error_id.empty() && failure.error_id == last_error_ &&
                                   failure.step == last_step_);
  last_error_ = failure.error_id;
  last_step_ = failure.step;
  if (again) {
    return stop(kExitGaveUp, failure.error_id + " twice at step " + std::to_string(failure.step));
  }
  if (tries_ > limits_.tries_without_progress) {
    return stop(kExitGaveUp,
                std::to_string(tries_ - 1) + " restarts in a row without a new checkpoint");
  }
  if (restarts_ >= limits_.max_restarts) {
    return stop(kExitGaveUp,
                "launcher.max_restarts = " + std::to_string(limits_.max_restarts) + " is used up");
  }
  ++restarts_;
  // 0, 1, 2, 4 ... seconds: the first restart after progress is free.
  const double backoff = tries_ == 1 ? 0
                                     : std::min(limits_.longest_backoff,
                                                std::ldexp(1.0, static_cast<int>(tries_) - 2));
  return {Decision::Action::kRestart, backoff, 0, "restart"};
}

}  // namespace contrail::launcher
