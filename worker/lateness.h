#pragma once
// Who came last to which collective, and how late: every rank leaves a collective at the same
// moment, so whoever waited least came last. Needs no synchronised clocks.

#include <vector>

#include "monitoring/recorder.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

// waits[rank][i]: seconds that the rank waited in entries[i]. The worst arrivals, latest first: one
// a collective at most, eight in all, none below a millisecond.
std::vector<monitor::LateArrival> FindLate(const std::vector<Ledger::Entry>& entries,
                                           const at::Tensor& waits);

class Lateness {
 public:
  explicit Lateness(Comm& comm) : comm_(comm) {}

  // Collective, once a step, while nothing that was started is unfinished. Tells the others in the
  // background how long this rank waited since the last call; returns what was told then.
  std::vector<monitor::LateArrival> Exchange();

 private:
  Comm& comm_;
  Pending pending_;
  std::vector<Ledger::Entry> entries_;  // under way: this rank's
  at::Tensor waits_;                    // fp32 [N, entries]
};

}  // namespace contrail::worker
