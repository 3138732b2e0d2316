#pragma once
// Where the time of an incident goes, from the culprit's last sign of life to the first new step.
//
//   detect | stop | restart (back-off, start, all ranks up) | load | redone | the new step
//
// The parts follow each other without a gap: their sum is the time from `last_sign` to now.

#include <optional>

#include "launcher/attempt.h"
#include "monitoring/incident.h"

namespace contrail::launcher {

class Ledger {
 public:
  // An attempt failed; opens an incident. One that is still open (the restart failed too) is
  // returned with what is known of it.
  std::optional<monitor::Incident> Open(const AttemptEnd& end, int attempt, int ranks,
                                        double unix_time);
  // What was decided about the open incident.
  void Decide(const std::string& action, uint64_t resumed_from, int ranks_after);
  // Feeds the open incident; returns it, complete, once a new step is finished.
  std::optional<monitor::Incident> See(const JobView& view);
  // The open incident as it is; nothing if none is open.
  std::optional<monitor::Incident> Close();

  bool open() const { return open_; }

 private:
  bool open_ = false;
  monitor::Incident incident_;
  double last_sign_ = 0;
  // CLOCK_MONOTONIC of the borders passed so far; 0 = not yet
  double gone_ = 0;
  double up_ = 0;
  double training_ = 0;
  double caught_up_ = 0;
};

}  // namespace contrail::launcher
