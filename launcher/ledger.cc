#include "launcher/ledger.h"

#include <utility>

namespace contrail::launcher {

std::optional<monitor::Incident> Ledger::Open(const AttemptEnd& end, int attempt, int ranks,
                                              double unix_time) {
  std::optional<monitor::Incident> unfinished = Close();
  open_ = true;
  incident_ = monitor::Incident();
  incident_.attempt = attempt;
  incident_.cause = CauseName(end.failure.cause);
  incident_.rank = end.failure.rank;
  incident_.host = end.failure.host;
  incident_.detail = end.failure.detail;
  incident_.step = end.failure.step;
  incident_.ranks_before = ranks;
  incident_.ranks_after = ranks;
  incident_.time = unix_time;
  incident_.detect = end.noticed - end.last_sign;
  incident_.stop = end.gone - end.noticed;
  last_sign_ = end.last_sign;
  gone_ = end.gone;
  up_ = training_ = caught_up_ = 0;
  return unfinished;
}

void Ledger::Decide(const std::string& action, uint64_t resumed_from, int ranks_after) {
  incident_.action = action;
  incident_.resumed_from = resumed_from;
  incident_.ranks_after = ranks_after;
}

std::optional<monitor::Incident> Ledger::See(const JobView& view) {
  if (!open_) return std::nullopt;
  if (up_ == 0 && view.up) {
    up_ = view.now;
    incident_.restart = up_ - gone_;
  }
  if (up_ != 0 && training_ == 0 && view.training) {
    training_ = view.now;
    incident_.load = training_ - up_;
  }
  if (training_ == 0) return std::nullopt;
  if (caught_up_ == 0 &&
      (view.step >= incident_.step || incident_.step <= incident_.resumed_from)) {
    caught_up_ = view.now;
    incident_.redone = caught_up_ - training_;
  }
  if (view.step <= incident_.step) return std::nullopt;
  incident_.to_next_step = view.now - last_sign_;
  return Close();
}

std::optional<monitor::Incident> Ledger::Close() {
  if (!std::exchange(open_, false)) return std::nullopt;
  return incident_;
}

}  // namespace contrail::launcher
