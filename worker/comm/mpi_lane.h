#pragma once
// One communicator on which collectives run one after the other, each from arrival to result. Used
// by one thread at a time; two lanes may run at once.

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <functional>
#include <memory>

#include "worker/comm/comm.h"
#include "worker/comm/mpi_group.h"
#include "worker/comm/mpi_halving.h"
#include "worker/comm/mpi_reduce.h"
#include "worker/comm/roll_call.h"

namespace contrail::worker {

struct MpiLimits {
  int64_t max_count = int64_t{1} << 30;       // elements in one MPI call
  int64_t chunk_elements = int64_t{1} << 16;  // of a slice, in flight from each peer
  int direct_ranks = kDirectRanks;            // more go through mpi_halving.h
};

// One collective as asked for. Tensors are kept alive by it.
struct Collective {
  Ledger::Operation operation = Ledger::Operation::kNone;
  at::Tensor out;
  at::Tensor in;  // reduce-scatter and all-gather
  Wire wire = Wire::kAsStored;
  int root = 0;           // broadcast
  uint64_t sequence = 0;  // given when it was issued
};

class MpiLane {
 public:
  // Duplicates `comm` and makes its errors return codes. `roll` answers who has not arrived.
  MpiLane(MPI_Comm comm, MpiLimits limits, Ledger& ledger, RollCall& roll);
  ~MpiLane();
  MpiLane(const MpiLane&) = delete;
  MpiLane& operator=(const MpiLane&) = delete;

  // Runs it to its end and notes that in the ledger. Throws EnvironmentError E-MPI-COLLECTIVE, or
  // E-MPI-TIMEOUT after `timeout` seconds (0: never); the lane is of no use after the latter.
  void Run(const Collective& collective, double timeout);

  // Called now and then while Run waits for long.
  void set_meanwhile(std::function<void()> meanwhile) { group_.meanwhile = std::move(meanwhile); }

 private:
  void Move(const Collective& collective);
  bool Direct() const { return group_.size <= limits_.direct_ranks; }
  void ReduceSlice(const at::Tensor& in, const std::vector<int64_t>& begin, const at::Tensor& out,
                   Wire wire);
  void AllReduce(const at::Tensor& tensor);
  void AllReduceSmall(const at::Tensor& tensor);
  void GatherSlices(const at::Tensor& all, const std::vector<int64_t>& begin);
  void AllGather(const at::Tensor& out, const at::Tensor& in);
  void GatherDirectly(const at::Tensor& out, const at::Tensor& in, bool in_place);
  void Broadcast(const at::Tensor& tensor, int root);
  [[noreturn]] void GiveUp(const Collective& collective, bool arrived);

  MpiGroup group_;
  MpiLimits limits_;
  RankOrderSum sum_;
  std::unique_ptr<Halving> halving_;  // where there are more than `direct_ranks`
  Ledger& ledger_;
  RollCall& roll_;
};

// Bytes of the whole tensor that a collective is about.
int64_t BytesOf(const Collective& collective);

}  // namespace contrail::worker
