#include "launcher/closing.h"

#include "common/clock.h"

namespace contrail::launcher {

Closing::Closing(int64_t batch, RunRecord& record, Reporter& reporter)
    : batch_(batch), begin_(SystemClock().Monotonic()), record_(record), reporter_(reporter) {}

monitor::Summary Closing::Summarise(const std::string& state, uint64_t committed, int attempt,
                                    const Tally& tally) {
  const std::optional<monitor::Summary>& before = record_.before();
  monitor::Summary summary;
  summary.state = state;
  summary.steps = committed;
  summary.samples_seen = committed * static_cast<uint64_t>(batch_);
  summary.attempts = attempt;
  summary.incidents = record_.Incidents();
  summary.checkpoints = record_.CommittedSteps();
  summary.replaced = record_.Replaced(committed);
  tally.AddTo(summary, before, batch_);
  summary.wall_seconds = SystemClock().Monotonic() - begin_ + (before ? before->wall_seconds : 0);
  if (before) summary.eval = before->eval;
  summary.time = SystemClock().Now();
  return summary;
}

void Closing::Write(const monitor::Summary& summary) {
  record_.Write(summary);
  reporter_.Closing(summary);
}

}  // namespace contrail::launcher
