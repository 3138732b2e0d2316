#pragma once
// Every collective of a rank: numbered in the order of issue, and when it is over, how long it
// waited for other ranks and how long data moved. Numbers start at 1 and are equal on all ranks
// for the same collective. Thread-safe: background collectives end on a thread of their own.

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "monitoring/progress_word.h"

namespace contrail::worker {

class Ledger {
 public:
  using Operation = monitor::Operation;

  struct Entry {
    uint64_t sequence = 0;
    Operation operation = Operation::kNone;
    int64_t bytes = 0;      // of the whole tensor
    bool blocking = false;  // the issuing thread waits inside it
    bool done = false;
    double waited = 0;     // seconds until the last rank had arrived
    double moved = 0;      // seconds from then to the end
    int64_t messages = 0;  // that this rank sent for it, those inside MPI's own not counted
  };
  struct Standing {
    uint64_t entered = 0;  // the last one issued
    uint64_t done = 0;     // all up to this one are finished
    Operation oldest_unfinished = Operation::kNone;
    bool blocked = false;  // a blocking one is unfinished
  };
  // Called at every change, by whichever thread made it, one call at a time.
  using Observer = std::function<void(const Standing&)>;

  uint64_t Enter(Operation operation, int64_t bytes, bool blocking = false);
  void Leave(uint64_t sequence, double waited, double moved, int64_t messages = 0);

  void SetObserver(Observer observer);
  Standing standing() const;
  // Totals of finished collectives. The rank that waits least is the straggler.
  double waiting_seconds() const;
  double moving_seconds() const;

  // Finished entries since the last call in order, up to the first unfinished one. Only the newest
  // 4,096 are kept for whoever never asks.
  std::vector<Entry> TakeFinished();

 private:
  Standing StandingLocked() const;
  void Tell();

  mutable std::mutex mutex_;
  std::deque<Entry> entries_;  // consecutive numbers, newest last
  uint64_t entered_ = 0;
  uint64_t done_ = 0;
  int blocking_ = 0;  // unfinished
  double waiting_ = 0;
  double moving_ = 0;
  Observer observer_;
};

}  // namespace contrail::worker
