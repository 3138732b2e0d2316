#include "launcher/hang.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <tuple>

namespace contrail::launcher {
namespace {

using monitor::Activity;
using monitor::Phase;

constexpr double kGrain = 0.1;       // between two looks: a limit is met, not exceeded
constexpr double kAskEvery = 0.5;    // seconds
constexpr double kBurning = 0.02;    // of one processor: enough where many ranks share it
constexpr double kRemembered = 100;  // times its own length a gap is remembered
constexpr double kGrowth = 2;        // of a limit over the longest gap

bool Watched(const RankView& view) {
  return !view.exited && view.rank >= 0 && view.phase != Phase::kAbsent &&
         view.phase != Phase::kDone && view.phase != Phase::kFailed;
}

bool Changed(const RankView& a, const RankView& b) {
  return a.time != b.time || a.phase != b.phase || a.step != b.step || a.work != b.work ||
         a.collective != b.collective || a.collective_done != b.collective_done || a.pid != b.pid;
}

bool InCollective(const RankView& view) { return view.collective_done < view.collective; }

// The main thread itself waits there; collectives in the background may run while it computes.
bool Waits(const RankView& view) {
  return view.blocked || (view.activity == Activity::kExchanging && InCollective(view));
}

Activity DoingOf(const RankView& view) {
  return Waits(view) ? Activity::kExchanging : view.activity;
}

bool WaitsForFiles(Activity activity) {
  return activity == Activity::kStarting || activity == Activity::kIndexing ||
         activity == Activity::kReading || activity == Activity::kData;
}

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
      return "running (state R)";
    case 'S':
      return "waiting (state S)";
    case 0:
      return "not seen";
    default:
      return "gone";
  }
}

int Culprit(const std::vector<RankView>& ranks, const std::vector<char>& states) {
  if (ranks.empty()) return -1;
  const auto halted = [&](size_t i) {
    return states[i] == 'T' || states[i] == 't' || states[i] == 'D';
  };
  // Alone in a collective means waiting for ranks that are not seen, those of other nodes.
  if (ranks.size() == 1) return Waits(ranks[0]) && !halted(0) ? -1 : ranks[0].rank;
  // Smaller is guiltier.
  const auto guilt = [&](size_t i) {
    return std::make_tuple(ranks[i].collective, InCollective(ranks[i]), !halted(i));
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

void LearnedLimits::Learn(Activity activity, double gap, double now) {
  Gap& kept = gaps_.at(static_cast<size_t>(activity) % gaps_.size());
  const bool forgotten = now - kept.seen > kRemembered * kept.longest;
  if (gap >= kept.longest || forgotten) kept.longest = gap;
  if (2 * gap >= kept.longest) kept.seen = now;
}

double LearnedLimits::Longest(Activity activity) const {
  return gaps_.at(static_cast<size_t>(activity) % gaps_.size()).longest;
}

double HangDetector::Grown(double limit, Activity activity) const {
  const double most = limits_.collective_seconds > 0 ? limits_.collective_seconds
                                                     : std::numeric_limits<double>::infinity();
  return std::max(limit, std::min(kGrowth * learned_.Longest(activity), most));
}

double HangDetector::LimitOf(const RankView& view) const {
  const Activity doing = DoingOf(view);
  switch (doing) {
    case Activity::kComputing:
      return Grown(limits_.hang_seconds, doing);
    case Activity::kExchanging: {
      // Ranks elsewhere may be at work of their own, of which nothing is seen here; their peers'
      // patience ends at collective_seconds and then names them.
      if (limits_.other_nodes && view.phase == Phase::kStarting) {
        return limits_.collective_seconds > 0
                   ? std::max(limits_.start_seconds, limits_.collective_seconds)
                   : std::numeric_limits<double>::infinity();
      }
      const bool long_one = limits_.other_nodes || view.phase == Phase::kStarting;
      return Grown(
          long_one ? std::max(limits_.start_seconds, limits_.hang_seconds) : limits_.hang_seconds,
          doing);
    }
    case Activity::kSaving:
      return Grown(limits_.save_seconds, doing);
    default:
      return Grown(limits_.start_seconds, doing);
  }
}

bool HangDetector::Over(double silence, double limit) const { return silence + kGrain > limit; }

// Takes in what has changed since the last look, `passed` seconds ago.
void HangDetector::Update(const std::vector<RankView>& ranks, double now, double passed) {
  std::map<int, Seen> still;
  for (const RankView& view : ranks) {
    if (!Watched(view)) continue;
    Seen& seen = still[view.rank];
    const auto before = seen_.find(view.rank);
    if (before != seen_.end() && !Changed(view, before->second.view)) {
      seen = before->second;
      seen.view = view;  // what it does may be a store behind its time
      continue;
    }
    seen.view = view;
    seen.since = awake_ - std::clamp(now - view.time, 0.0, passed);
    if (before == seen_.end() || before->second.view.pid != view.pid) continue;
    // What a rank waits for another is no sign of how long it needs itself, and one that was seen
    // to use the processor needs no longer limit.
    if (!Waits(before->second.view) && !(before->second.marked && before->second.burning)) {
      learned_.Learn(before->second.view.activity, seen.since - before->second.since, now);
    }
  }
  // All of them waited, until one did not.
  const auto waits = [](const auto& entry) { return Waits(entry.second.view); };
  if (!seen_.empty() && std::all_of(seen_.begin(), seen_.end(), waits)) {
    double began = 0;
    for (const auto& [rank, seen] : seen_) began = std::max(began, seen.since);
    std::optional<double> ended;
    for (const auto& [rank, seen] : still) {
      if (seen.since > began) ended = std::min(ended.value_or(seen.since), seen.since);
    }
    if (ended) learned_.Learn(Activity::kExchanging, *ended - began, now);
  }
  seen_ = std::move(still);
}

void HangDetector::AskFacts(Seen& seen, const Ask& ask) const {
  if (seen.asked >= 0 && awake_ - seen.asked < kAskEvery) return;
  seen.asked = awake_;
  seen.facts = seen.view.pid > 0 ? ask(seen.view.pid) : Facts();
}

// Of a rank that waits for files, whose silence nears its limit: whether its process has read
// something since an earlier look. Its word tells what is done, not every piece of it.
bool HangDetector::Reads(Seen& seen, const Ask& ask) const {
  if (!WaitsForFiles(seen.view.activity)) return false;
  AskFacts(seen, ask);
  const uint64_t before = seen.mark_read.value_or(seen.facts.bytes_read);
  seen.mark_read = seen.facts.bytes_read;
  if (seen.facts.bytes_read == before) return false;
  seen.since = seen.asked;
  seen.marked = false;
  seen.mark_read.reset();
  return true;
}

// Of a rank outside of a collective whose silence nears or is past its limit: whether its main
// thread has been using the processor since an earlier look or wants to, or a debugger holds it.
bool HangDetector::IsSlow(Seen& seen, double limit, const Ask& ask) const {
  const double patience = limits_.collective_seconds;
  if (patience > 0 && Silence(seen) > std::max(patience, limit)) return false;
  AskFacts(seen, ask);
  if (seen.facts.state == 't') return true;  // somebody is looking at it
  if (seen.facts.state == 'R') return true;  // it would go on, if others left it the processor
  const double window = seen.asked - seen.mark_at;
  if (!seen.marked) {
    seen.burning = true;  // until it is known
  } else if (window >= limit / 4) {
    seen.burning = seen.facts.cpu_seconds - seen.mark_cpu >= kBurning * window;
  }
  if (!seen.marked || window >= limit / 2) {
    seen.marked = true;
    seen.mark_at = seen.asked;
    seen.mark_cpu = seen.facts.cpu_seconds;
  }
  return seen.burning;
}

std::optional<Hang> HangDetector::Look(const std::vector<RankView>& ranks, double now,
                                       const Ask& ask) {
  const double passed = std::clamp(now - last_look_, 0.0, kMostPerLook);
  last_look_ = now;
  awake_ += passed;
  Update(ranks, now, passed);
  std::vector<const Seen*> late, waiting;
  for (auto& [rank, seen] : seen_) {
    const double silence = Silence(seen);
    const double limit = LimitOf(seen.view);
    if (Over(silence, limits_.hang_seconds)) {
      AskFacts(seen, ask);
      if (seen.facts.state == 'T') return Describe({&seen});
    }
    if (Waits(seen.view)) {
      waiting.push_back(&seen);
      continue;
    }
    if (2 * silence < limit) continue;
    if (Reads(seen, ask)) continue;
    const bool slow = IsSlow(seen, limit, ask);
    if (Over(silence, limit) && !slow) late.push_back(&seen);
  }
  if (!late.empty()) return Describe(late);
  if (waiting.empty() || waiting.size() < seen_.size()) return std::nullopt;
  for (const Seen* seen : waiting) {
    if (!Over(Silence(*seen), LimitOf(seen->view))) return std::nullopt;
  }
  for (auto& [rank, seen] : seen_) AskFacts(seen, ask);
  return Describe(waiting);
}

Hang HangDetector::Describe(const std::vector<const Seen*>& ranks) const {
  std::vector<RankView> views;
  std::vector<char> states;
  for (const Seen* seen : ranks) {
    views.push_back(seen->view);
    states.push_back(seen->facts.state);
  }
  Hang hang;
  hang.rank = Culprit(views, states);
  hang.starting = true;
  size_t of = 0;  // whose place is told
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (hang.rank >= 0 && views[i].rank != hang.rank) continue;
    hang.starting = hang.starting && views[i].phase == Phase::kStarting;
    if (hang.rank >= 0 || Silence(*ranks[i]) > Silence(*ranks[of])) of = i;
  }
  hang.silent = Silence(*ranks[of]);
  std::vector<RankView> all;
  for (const auto& [rank, seen] : seen_) all.push_back(seen.view);
  const RankView& told = views[of];
  const uint64_t number = told.collective_done + 1;
  const std::string collective = " collective " + std::to_string(number) + Named(all, number);
  if (hang.rank >= 0) {
    hang.detail = "rank " + std::to_string(hang.rank) + " " + StateText(states[of]) + ", " +
                  (Waits(told) ? "in" : ActivityText(told.activity) + std::string(", before")) +
                  collective;
  } else if (Waits(told)) {
    hang.detail = "all ranks here wait in" + collective;
  } else {
    hang.detail = std::to_string(ranks.size()) + " ranks make no progress (" +
                  ActivityText(told.activity) + ")";
  }
  char text[64];
  std::snprintf(text, sizeof text, ", silent for %.1f s", hang.silent);
  hang.detail += text;
  return hang;
}

}  // namespace contrail::launcher
