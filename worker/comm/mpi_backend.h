#pragma once
// A c10d backend over MPI for CPU tensors, as LibTorch's wheel ships none. Blocking: each call
// returns a finished Work. Sums are formed in rank order (mpi_reduce.h), the rest are MPI's own
// collectives, in place where the caller's buffers allow it. More elements than an MPI count holds
// travel in chunks.

#include <mpi.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "worker/comm/mpi_group.h"
#include "worker/comm/mpi_reduce.h"

namespace contrail::worker {

class MpiBackend final : public c10d::Backend {
 public:
  struct Limits {
    int64_t max_count = int64_t{1} << 30;       // elements in one MPI call
    int64_t chunk_elements = int64_t{1} << 16;  // of a slice, in flight from each peer
  };

  // Duplicates `comm` and makes its errors return codes.
  explicit MpiBackend(MPI_Comm comm, Limits limits);
  explicit MpiBackend(MPI_Comm comm) : MpiBackend(comm, Limits()) {}
  ~MpiBackend() override;

  const std::string getBackendName() const override { return "contrail-mpi"; }
  uint64_t getSequenceNumberForGroup() override { return group_.sequence; }

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

  // Seconds spent so far waiting for peers to arrive at a collective, and moving data in it.
  double waiting_seconds() const { return waiting_seconds_; }
  double moving_seconds() const { return moving_seconds_; }

 private:
  template <typename Body>
  c10::intrusive_ptr<c10d::Work> Run(const char* operation, c10d::OpType type, Body body);
  void GatherChunked(void* out, const void* in, int64_t count, at::ScalarType type);

  MpiGroup group_;
  Limits limits_;
  RankOrderSum sum_;
  double waiting_seconds_ = 0;
  double moving_seconds_ = 0;
};

}  // namespace contrail::worker
