#pragma once
// One commit: on the root, on a thread that nobody has to wait for.
//
//   fence        no other launcher has the run (worker/fence.h)
//   the step     becomes visible (checkpoint/save.h)
//   newest.json  names it; the attempt's first one leaves first_commit.json, too, or a later one
//                where that failed
//   prune        steps that are too old go
//
// From newest.json on the step is committed, whatever becomes of the rest.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/save.h"
#include "monitoring/recorder.h"
#include "worker/fence.h"

namespace contrail::worker {

class Committer {
 public:
  struct Order {
    Writer writer;
    int keep_last = 3;
    bool tell_first = false;  // leave first_commit.json
    ckpt::SavePlan plan;
    std::vector<std::string> reports;   // rank order
    monitor::CheckpointRecord record;   // of the save so far
    std::function<void()> before_step;  // before the step becomes visible; owns what it uses
  };
  struct Result {
    std::string error;  // whole line; empty = committed
    std::string lineage;
    bool told_first = false;  // first_commit.json is there
    monitor::CheckpointRecord record;
  };

  // `fs` must outlive the thread: after GiveUp or Leave that may be the process' end.
  Committer(FileSystem& fs, Order order);
  ~Committer();  // waits, unless the thread was left to itself

  bool finished() const;       // cheap; all of it
  bool committed() const;      // cheap
  uint64_t moved() const;      // cheap; stands still where an operation hangs
  Result result() const;       // once finished, or committed
  void GiveUp();               // leaves the thread; from now on it makes nothing visible
  bool Leave(double seconds);  // waits so long, then leaves the thread at it. False: it was left

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the thread
  std::thread thread_;
};

}  // namespace contrail::worker
