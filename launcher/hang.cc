#include "launcher/hang.h"

#include <algorithm>
#include <cstdio>

namespace contrail::launcher {
namespace {

using monitor::Phase;

constexpr size_t kStepsKept = 31;
constexpr double kMedianSteps = 5;
// A gap between two looks that only a suspended or stopped launcher explains.
constexpr double kOwnGap = 2;

bool Watched(const RankView& view) {
  return !view.exited && view.rank >= 0 && view.phase != Phase::kAbsent &&
         view.phase != Phase::kDone && view.phase != Phase::kFailed;
}

bool Changed(const RankView& a, const RankView& b) {
  return a.time != b.time || a.phase != b.phase || a.step != b.step ||
         a.collective != b.collective || a.collective_done != b.collective_done || a.pid != b.pid;
}

bool InCollective(const RankView& view) { return view.collective_done < view.collective; }

// " (reduce_scatter)", from any rank that is in it.
std::string Named(const std::vector<RankView>& ranks, uint64_t collective) {
  for (const RankView& view : ranks) {
    if (!InCollective(view) || view.collective_done + 1 != collective) continue;
    const std::string name = OperationName(view.operation);
    return name.empty() ? "" : " (" + name + ")";
  }
  return "";
}

}  // namespace

std::string StateText(char state) {
  switch (state) {
    case 'T':
      return "stopped (state T)";
    case 't':
      return "held by a debugger (state t)";
    case 'D':
      return "blocked in I/O (state D)";
    case 'R':
      return "spinning (state R)";
    case 'S':
      return "waiting (state S)";
    default:
      return "gone";
  }
}

int Culprit(const std::vector<RankView>& ranks, const std::vector<char>& states) {
  if (ranks.empty()) return -1;
  // Alone in a collective means waiting for ranks that are not seen, those of other nodes.
  if (ranks.size() == 1) {
    const bool waits = InCollective(ranks[0]) && (states[0] == 'S' || states[0] == 'R');
    return waits ? -1 : ranks[0].rank;
  }
  // Smaller is guiltier.
  const auto guilt = [&](size_t i) {
    const bool halted = states[i] == 'T' || states[i] == 't' || states[i] == 'D';
    return std::make_tuple(ranks[i].collective, InCollective(ranks[i]), !halted);
  };
  size_t best = 0;
  int equals = 0;
  for (size_t i = 1; i < ranks.size(); ++i) {
    if (guilt(i) < guilt(best)) {
      best = i;
      equals = 0;
    } else if (guilt(i) == guilt(best)) {
      ++equals;
    }
  }
  return equals == 0 ? ranks[best].rank : -1;
}

double HangDetector::MedianStep() const {
  if (steps_.empty()) return 0;
  std::vector<double> sorted(steps_.begin(), steps_.end());
  std::nth_element(sorted.begin(), sorted.begin() + std::ssize(sorted) / 2, sorted.end());
  return sorted[sorted.size() / 2];
}

double HangDetector::StepLimit() const {
  return std::max(limits_.hang_seconds, kMedianSteps * MedianStep());
}

std::vector<RankView> HangDetector::Silent(const std::vector<RankView>& ranks, double now) {
  if (now - last_look_ > kOwnGap) {
    const double gap = now - last_look_;
    start_ += gap;
    for (auto& [rank, seen] : seen_) seen.changed += gap;
  }
  last_look_ = now;
  std::vector<RankView> watched;
  bool silent = false;
  quiet_.clear();
  for (const RankView& view : ranks) {
    if (!Watched(view)) continue;
    watched.push_back(view);
    const bool first = !seen_.contains(view.rank);
    Seen& seen = seen_[view.rank];
    if (first || Changed(view, seen.view)) {
      if (!first && view.phase == Phase::kTraining && seen.view.phase == Phase::kTraining &&
          view.step > seen.view.step) {
        const double since = view.time - seen.stepped;
        if (seen.stepping && since > 0) {
          steps_.push_back(since / static_cast<double>(view.step - seen.view.step));
          if (steps_.size() > kStepsKept) steps_.pop_front();
        }
        seen.stepping = true;
        seen.stepped = view.time;
      }
      // A phase of another resolution begins after a save, and its steps take another time.
      if (!first && seen.view.phase == Phase::kTraining && view.phase != Phase::kTraining) {
        seen.stepping = false;
        steps_.clear();
      }
      seen.view = view;
      seen.changed = now;
    }
    any_steps_ = any_steps_ || seen.stepping;
    const double limit =
        view.phase == Phase::kTraining && seen.stepping ? StepLimit() : limits_.start_seconds;
    if (now - seen.changed > limit) silent = true;
    if (now - seen.changed > StepLimit()) quiet_.push_back(view);
  }
  // Start-up counts from the spawn, whatever the words do meanwhile.
  if (!any_steps_ && now - start_ > limits_.start_seconds && !watched.empty()) silent = true;
  if (!silent) return {};
  // The whole job waits for the culprit; whoever still makes progress is none.
  std::vector<RankView> still;
  for (const RankView& view : watched) {
    if (!any_steps_ || now - seen_[view.rank].changed > 0.5 * StepLimit()) still.push_back(view);
  }
  return still;
}

Hang HangDetector::Describe(const std::vector<RankView>& watched, const std::vector<char>& states,
                            double now) const {
  Hang hang;
  hang.rank = Culprit(watched, states);
  hang.last_sign = now;
  hang.starting = true;
  for (const auto& [rank, seen] : seen_) hang.starting = hang.starting && !seen.stepping;
  size_t of = 0;  // whose place is told
  for (size_t i = 0; i < watched.size(); ++i) {
    if (hang.rank >= 0 && watched[i].rank != hang.rank) continue;
    hang.last_sign = std::min(hang.last_sign, seen_.at(watched[i].rank).changed);
    if (hang.rank >= 0) of = i;
  }
  const uint64_t collective = watched[of].collective_done + 1;
  std::string who = "all ranks wait in the same place,";
  if (hang.rank >= 0) {
    who = "rank " + std::to_string(hang.rank) + " " + StateText(states[of]) +
          (InCollective(watched[of]) ? " in" : " before");
  }
  who += " collective " + std::to_string(collective) + Named(watched, collective);
  char text[64];
  std::snprintf(text, sizeof text, ", silent for %.1f s", now - hang.last_sign);
  hang.detail = who + text;
  return hang;
}

}  // namespace contrail::launcher
