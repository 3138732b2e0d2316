// Comm over the MPI backend, and the life of MPI in this process.

#include <mpi.h>
#include <unistd.h>

#include <map>

#include "common/error.h"
#include "worker/comm/comm.h"
#include "worker/comm/mpi_backend.h"

namespace contrail::worker {
namespace {

bool MpiIsUp() {
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized && !finalized;
}

void InitMpi() {
  if (MpiIsUp()) return;
  int provided = MPI_THREAD_SINGLE;
  const int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided);
  if (code != MPI_SUCCESS) {
    throw EnvironmentError("E-MPI-INIT", "", "MPI_Init_thread returned " + std::to_string(code),
                           "check that the worker was started by the mpirun of the MPI library it "
                           "is linked with");
  }
  if (provided < MPI_THREAD_MULTIPLE) {
    throw EnvironmentError("E-MPI-THREADS", "",
                           "this MPI library does not offer MPI_THREAD_MULTIPLE",
                           "use an MPI built with thread support");
  }
}

class PendingWork final : public Pending::Work {
 public:
  explicit PendingWork(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}
  void Wait() override { work_->wait(); }
  bool done() override { return work_->isCompleted(); }

 private:
  c10::intrusive_ptr<c10d::Work> work_;
};

class MpiComm final : public Comm {
 public:
  explicit MpiComm(int direct_ranks)
      : backend_(c10::make_intrusive<MpiBackend>(MPI_COMM_WORLD,
                                                 MpiLimits{.direct_ranks = direct_ranks})) {
    FindNodes();
  }

  int rank() const override { return backend_->getRank(); }
  int size() const override { return backend_->getSize(); }
  int local_rank() const override { return local_rank_; }
  const std::vector<int>& node_of_rank() const override { return node_of_rank_; }
  void SetTimeout(double seconds) override { backend_->SetTimeout(seconds); }
  Ledger& ledger() override { return backend_->ledger(); }

  void AllReduceSum(at::Tensor tensor) override { Reduce(std::move(tensor), false); }
  void ReduceScatterSum(at::Tensor out, const at::Tensor& in) override {
    backend_->ReduceScatter(out, in, Wire::kAsStored, false);
  }
  void AllGather(at::Tensor out, const at::Tensor& in) override {
    Gather(std::move(out), in, false);
  }
  void Broadcast(at::Tensor tensor, int root) override {
    std::vector<at::Tensor> tensors = {std::move(tensor)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.asyncOp = false;
    backend_->broadcast(tensors, options);
  }
  void Barrier() override {
    c10d::BarrierOptions options;
    options.asyncOp = false;
    backend_->barrier(options);
  }

  Pending StartAllReduceSum(at::Tensor tensor) override {
    return Started(Reduce(std::move(tensor), true));
  }
  Pending StartReduceScatterSum(at::Tensor out, const at::Tensor& in, Wire wire) override {
    return Started(backend_->ReduceScatter(out, in, wire, true));
  }
  Pending StartAllGather(at::Tensor out, const at::Tensor& in) override {
    return Started(Gather(std::move(out), in, true));
  }

 private:
  static Pending Started(c10::intrusive_ptr<c10d::Work> work) {
    return Pending(std::make_shared<PendingWork>(std::move(work)));
  }
  c10::intrusive_ptr<c10d::Work> Reduce(at::Tensor tensor, bool async) {
    std::vector<at::Tensor> tensors = {std::move(tensor)};
    c10d::AllreduceOptions options;
    options.asyncOp = async;
    return backend_->allreduce(tensors, options);
  }
  c10::intrusive_ptr<c10d::Work> Gather(at::Tensor out, at::Tensor in, bool async) {
    c10d::AllgatherOptions options;
    options.asyncOp = async;
    return backend_->_allgather_base(out, in, options);
  }

  // A node is what MPI says can share memory; it is named by its lowest rank.
  void FindNodes() {
    MPI_Comm node = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank(), MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &local_rank_);
    int first = rank();
    MPI_Bcast(&first, 1, MPI_INT, 0, node);
    MPI_Comm_free(&node);
    std::vector<int> first_of_rank(size());
    MPI_Allgather(&first, 1, MPI_INT, first_of_rank.data(), 1, MPI_INT, MPI_COMM_WORLD);
    std::map<int, int> index;
    for (int leader : first_of_rank) {
      node_of_rank_.push_back(index.emplace(leader, static_cast<int>(index.size())).first->second);
    }
  }

  c10::intrusive_ptr<MpiBackend> backend_;
  int local_rank_ = 0;
  std::vector<int> node_of_rank_;
};

}  // namespace

std::unique_ptr<Comm> MakeMpiComm(int direct_ranks) {
  InitMpi();
  return std::make_unique<MpiComm>(direct_ranks);
}

void ShutdownMpi() {
  if (MpiIsUp()) MPI_Finalize();
}

void AbortMpi(int code) {
  if (MpiIsUp()) MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

}  // namespace contrail::worker
