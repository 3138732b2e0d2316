#pragma once
// A c10d backend over MPI for CPU tensors, as LibTorch's wheel ships none. Sums are formed in rank
// order (mpi_reduce.h) or, as gathers of many ranks are, in stages (mpi_halving.h); the rest are
// MPI's own collectives, in place where the caller's buffers allow it. More elements than an MPI
// count holds travel in chunks.
//
// Options with asyncOp (c10d's default) queue the collective for a thread and a communicator of
// their own; without, it runs at once on the caller's thread and the Work is finished. Both kinds
// share one numbering.

#include <mpi.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "worker/comm/mpi_lane.h"
#include "worker/comm/mpi_queue.h"

namespace contrail::worker {

class MpiBackend final : public c10d::Backend {
 public:
  using Limits = MpiLimits;
  explicit MpiBackend(MPI_Comm comm, Limits limits = {});

  const std::string getBackendName() const override { return "contrail-mpi"; }
  uint64_t getSequenceNumberForGroup() override { return ledger_.standing().entered; }

  // One contiguous tensor each; only ReduceOp::SUM.
  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& options) override;
  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors,
                                           const c10d::BroadcastOptions& options) override;
  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor& out, at::Tensor& in,
                                                 const c10d::AllgatherOptions& options) override;
  c10::intrusive_ptr<c10d::Work> _reduce_scatter_base(
      at::Tensor& out, at::Tensor& in, const c10d::ReduceScatterOptions& options) override;
  c10::intrusive_ptr<c10d::Work> barrier(const c10d::BarrierOptions& options) override;

  // What c10d has no word for.
  c10::intrusive_ptr<c10d::Work> ReduceScatter(const at::Tensor& out, const at::Tensor& in,
                                               Wire wire, bool async);
  void SetTimeout(double seconds) { timeout_ = seconds; }
  Ledger& ledger() { return ledger_; }

 private:
  c10::intrusive_ptr<c10d::Work> Run(Collective collective, c10d::OpType type, bool async);

  double timeout_ = 0;
  Ledger ledger_;
  RollCall roll_;
  MpiLane now_;
  MpiQueue later_;
};

}  // namespace contrail::worker
