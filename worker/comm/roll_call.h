#pragma once
// Who has not arrived. When a collective times out, every rank is asked how far it has come; a
// thread of each rank answers, whatever its other threads do. No answer means that the process is
// stopped, dead or cut off.

#include <mpi.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "worker/comm/ledger.h"

namespace contrail::worker {

class RollCall {
 public:
  // Duplicates `comm`.
  RollCall(MPI_Comm comm, Ledger& ledger);
  ~RollCall();
  RollCall(const RollCall&) = delete;
  RollCall& operator=(const RollCall&) = delete;

  // Answers whoever has asked. Cheap; called several times a second by one thread of every rank.
  void Serve();

  struct Missing {
    std::vector<int> ranks;
    std::string text;  // "not arrived: rank 2 (no answer), rank 3 (at number 117)"
  };
  // Asks everyone, waits two seconds at most, and says who has not come to collective `sequence`.
  Missing Call(uint64_t sequence);

 private:
  struct Answer {
    uint64_t entered = 0;
    uint64_t done = 0;
  };
  Ledger& ledger_;
  std::mutex serving_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace contrail::worker
