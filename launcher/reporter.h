#pragma once
// What the launcher says on stderr: one line an event, "contrail: EVENT key=value ...", for people
// and for grep; progress as such lines at intervals, or as a live panel on a terminal. stdout stays
// free.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launcher/attempt.h"
#include "launcher/panel.h"
#include "monitoring/incident.h"
#include "monitoring/run_files.h"

namespace contrail::launcher {

class Reporter {
 public:
  // `status_seconds` between progress lines.
  Reporter(std::string run, double status_seconds);

  // `from_step`: the checkpoint it is sent to, 0 for none yet; nothing where that cannot be told.
  void Started(int attempt, int ranks, int64_t threads, std::optional<uint64_t> from_step);
  // Progress, checkpoints as they are committed, and the first step of a resumed attempt.
  void See(const JobView& view);
  void Failed(const Failure& failure, const AttemptEnd& end);
  void Restarting(int attempt, std::optional<uint64_t> from_step, double backoff);
  void Recovered(const monitor::Incident& incident);
  // What ended no attempt: a step that was skipped, a checkpoint that was passed over.
  void Noted(const monitor::Incident& incident);
  void Replaced(const std::string& text);
  void Stopping(const std::string& signal);
  void Evaluating(const std::string& dataset);
  void Closing(const monitor::Summary& summary);

 private:
  void Event(const std::string& text);
  void UpdateProgress(const JobView& view);

  const std::string run_;
  const double status_seconds_;
  const double begin_;
  Panel panel_;
  monitor::RunProgress progress_;
  int first_attempt_ = 0;
  std::optional<uint64_t> from_step_;  // the checkpoint the attempt was sent to, as far as known
  bool training_said_ = false;         // the attempt's first step was reported
  double last_status_ = 0;
  std::map<int, double> changed_;  // rank -> CLOCK_MONOTONIC of its word's last change
};

}  // namespace contrail::launcher
