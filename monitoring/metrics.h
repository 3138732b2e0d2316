#pragma once
// The metric catalogue: one table from which TensorBoard tags, `contrail view --series` names and
// the viewer's labels come, so that a number is spelt and measured the same everywhere.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "monitoring/recorder.h"

namespace contrail::monitor {

// The phases of a step, in the order they happen; `total` last.
struct PhaseSpec {
  const char* name;   // "feature_gather"
  const char* label;  // "feature gather"
  const char* help;
  float StepTimes::*field;
};
const std::array<PhaseSpec, kNumPhases>& Phases();
inline constexpr size_t kTotalPhase = kNumPhases - 1;

// What is kept of a step for ever: the record without its ranks, and statistics over them.
struct StepRow : RankSummary {
  StepRecord record;  // `ranks` and `over_ranks` empty
};
// Takes the record's own statistics where it has some, else those of its ranks.
StepRow Summarize(const StepRecord& record);

// How late each rank came to a collective, seconds after the first: every rank leaves it at the
// same moment, so the one that waited least came last. lateness_r = max(wait) - wait_r. Needs no
// synchronised clocks; step time would not show it, because the collective makes it equal.
std::vector<float> Lateness(const std::vector<StepTimes>& ranks, float StepTimes::*wait);

struct Metric {
  enum class Over { kGlobal, kMedianOfRanks, kMaxOfRanks };
  std::string name;   // "phase_seconds/forward/p50": TensorBoard tag and --series name
  std::string label;  // "forward, p50"
  std::string unit;   // "s", "samples/s", "" (a pure number)
  Over over = Over::kGlobal;
  std::string help;
  bool tensorboard = true;      // exported as a TensorBoard scalar
  bool nan_is_missing = false;  // NaN means "not measured", not a value that became NaN
  // Exactly one of the two is set.
  double (*of_step)(const StepRow&, size_t phase) = nullptr;
  double (*of_checkpoint)(const CheckpointRecord&) = nullptr;
  size_t phase = 0;
};
const std::vector<Metric>& Metrics();
const Metric* FindMetric(const std::string& name);  // nullptr where there is none
std::vector<std::string> MetricNames();

}  // namespace contrail::monitor
