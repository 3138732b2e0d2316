#include "worker/comm/mpi_backend.h"

#include "common/error.h"

namespace contrail::worker {
namespace {

using Operation = Ledger::Operation;

class FinishedWork final : public c10d::Work {
 public:
  FinishedWork(int rank, c10d::OpType type, uint64_t sequence)
      : c10d::Work(rank, type), sequence_(sequence) {
    finish();
  }
  uint64_t getSequencenumber() const override { return sequence_; }

 private:
  uint64_t sequence_;
};

int RankIn(MPI_Comm comm) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  return rank;
}

int SizeOf(MPI_Comm comm) {
  int size = 0;
  MPI_Comm_size(comm, &size);
  return size;
}

void CheckTensor(const at::Tensor& tensor) {
  CONTRAIL_ASSERT(tensor.device().is_cpu() && tensor.is_contiguous());
}

}  // namespace

MpiBackend::MpiBackend(MPI_Comm comm, Limits limits)
    : c10d::Backend(RankIn(comm), SizeOf(comm)),
      roll_(comm, ledger_),
      now_(comm, limits, ledger_, roll_),
      later_(comm, limits, ledger_, roll_) {}

c10::intrusive_ptr<c10d::Work> MpiBackend::Run(Collective collective, c10d::OpType type,
                                               bool async) {
  collective.sequence = ledger_.Enter(collective.operation, BytesOf(collective), !async);
  if (async) return later_.Start(std::move(collective), type, timeout_);
  now_.Run(collective, timeout_);
  return c10::make_intrusive<FinishedWork>(getRank(), type, collective.sequence);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::allreduce(std::vector<at::Tensor>& tensors,
                                                     const c10d::AllreduceOptions& options) {
  CONTRAIL_ASSERT(tensors.size() == 1 && options.reduceOp.op_ == c10d::ReduceOp::SUM);
  CheckTensor(tensors[0]);
  return Run({.operation = Operation::kAllReduce, .out = tensors[0]}, c10d::OpType::ALLREDUCE,
             options.asyncOp);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::_reduce_scatter_base(
    at::Tensor& out, at::Tensor& in, const c10d::ReduceScatterOptions& options) {
  CONTRAIL_ASSERT(options.reduceOp.op_ == c10d::ReduceOp::SUM);
  return ReduceScatter(out, in, Wire::kAsStored, options.asyncOp);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::ReduceScatter(const at::Tensor& out,
                                                         const at::Tensor& in, Wire wire,
                                                         bool async) {
  CONTRAIL_ASSERT(in.numel() == out.numel() * getSize() && in.scalar_type() == out.scalar_type());
  CONTRAIL_ASSERT(wire == Wire::kAsStored || in.scalar_type() == at::kFloat);
  CheckTensor(in);
  CheckTensor(out);
  return Run({.operation = Operation::kReduceScatter, .out = out, .in = in, .wire = wire},
             c10d::OpType::_REDUCE_SCATTER_BASE, async);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::_allgather_base(at::Tensor& out, at::Tensor& in,
                                                           const c10d::AllgatherOptions& options) {
  CONTRAIL_ASSERT(out.numel() == in.numel() * getSize() && in.scalar_type() == out.scalar_type());
  CheckTensor(in);
  CheckTensor(out);
  return Run({.operation = Operation::kAllGather, .out = out, .in = in},
             c10d::OpType::_ALLGATHER_BASE, options.asyncOp);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::broadcast(std::vector<at::Tensor>& tensors,
                                                     const c10d::BroadcastOptions& options) {
  CONTRAIL_ASSERT(tensors.size() == 1);
  CheckTensor(tensors[0]);
  return Run({.operation = Operation::kBroadcast,
              .out = tensors[0],
              .root = static_cast<int>(options.rootRank)},
             c10d::OpType::BROADCAST, options.asyncOp);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::barrier(const c10d::BarrierOptions& options) {
  return Run({.operation = Operation::kBarrier}, c10d::OpType::BARRIER, options.asyncOp);
}

}  // namespace contrail::worker
