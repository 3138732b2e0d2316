#pragma once
// What the launcher says on stderr: one line an event, progress at intervals. Lines are
// "contrail: EVENT key=value ...", for people and for grep; stdout stays free.

#include <cstdint>
#include <string>

#include "launcher/attempt.h"
#include "monitoring/incident.h"
#include "monitoring/run_files.h"

namespace contrail::launcher {

class Reporter {
 public:
  Reporter(std::string run, double status_seconds, int64_t global_batch_size);

  void Started(int attempt, int ranks, int64_t threads, uint64_t from_step);
  // Progress lines, checkpoints as they are committed, and the first step of a resumed attempt.
  void See(const JobView& view);
  void Failed(const Failure& failure, const AttemptEnd& end);
  void Restarting(int attempt, uint64_t from_step, double backoff);
  void Recovered(const monitor::Incident& incident);
  void Stopping(const std::string& signal);
  void Closing(const monitor::Summary& summary);

 private:
  void Event(const std::string& text);

  const std::string run_;
  const double status_seconds_;
  const int64_t global_batch_size_;
  int attempt_ = 0;
  int ranks_ = 0;
  uint64_t from_step_ = 0;
  double last_status_ = 0;
  uint64_t committed_ = 0;
  bool first_step_ = false;
  bool up_ = false;
};

}  // namespace contrail::launcher
