#pragma once
// The thread that carries out started collectives in the order of issue, and answers roll calls.

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "worker/comm/mpi_lane.h"

namespace contrail::worker {

class MpiQueue {
 public:
  MpiQueue(MPI_Comm comm, MpiLimits limits, Ledger& ledger, RollCall& roll);
  ~MpiQueue();  // carries out what is left, except after a failure

  // `collective` has its number already. The Work fails with what the lane threw; so does all
  // that comes after it, as ranks no longer agree on what is next.
  c10::intrusive_ptr<c10d::Work> Start(Collective collective, c10d::OpType type, double timeout);

 private:
  class QueuedWork;
  struct Job {
    Collective collective;
    double timeout = 0;
    c10::intrusive_ptr<QueuedWork> work;
  };
  void Loop();
  void Do(Job& job);

  Ledger& ledger_;
  RollCall& roll_;
  MpiLane lane_;
  int rank_ = 0;
  double served_ = 0;  // MPI_Wtime of the last look for roll calls

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool closing_ = false;
  std::exception_ptr broken_;  // the thread's own
  std::thread thread_;         // last: starts when all else is there
};

}  // namespace contrail::worker
