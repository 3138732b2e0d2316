#include "launcher/arrival.h"

#include <algorithm>
#include <utility>

namespace contrail::launcher {

void ArrivalWatch::Update(const std::vector<Starter>& starters, size_t shown, double awake) {
  if (shown > shown_) moved_at_ = awake;
  shown_ = std::max(shown_, shown);
  std::map<pid_t, Seen> still;
  for (const Starter& starter : starters) {
    const auto before = seen_.find(starter.pid);
    const bool is_new = before == seen_.end();
    const bool moved = is_new || before->second.moved != starter.moved;
    const bool ran = moved || before->second.cpu != starter.cpu;
    if (moved) moved_at_ = awake;
    still[starter.pid] = {starter.cpu, starter.moved, ran ? awake : before->second.since};
  }
  seen_ = std::move(still);
}

std::optional<ArrivalWatch::Late> ArrivalWatch::Look(const std::vector<Starter>& starters,
                                                     size_t shown, double awake) {
  Update(starters, shown, awake);
  const Starter* quietest = nullptr;
  double last_sign = moved_at_;
  for (const Starter& starter : starters) {
    const double since = seen_[starter.pid].since;
    last_sign = std::max(last_sign, since);
    if (starter.rank < 0) continue;
    const double silent = awake - since;
    if (starter.state == 'T' && silent > limits_.hang_seconds) return Late{&starter, silent};
    if (quietest == nullptr || since < seen_[quietest->pid].since) quietest = &starter;
  }
  if (quietest != nullptr) {
    const double silent = awake - seen_[quietest->pid].since;
    if (silent > limits_.start_seconds) return Late{quietest, silent};
  } else if (awake - last_sign > limits_.start_seconds) {
    return Late{nullptr, awake - last_sign};
  }
  const double patience = limits_.collective_seconds;
  const double idle = awake - moved_at_;
  if (patience > 0 && idle > std::max(patience, limits_.start_seconds)) return Late{nullptr, idle};
  return std::nullopt;
}

}  // namespace contrail::launcher
