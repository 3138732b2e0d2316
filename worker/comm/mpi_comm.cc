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

class MpiComm final : public Comm {
 public:
  MpiComm() : backend_(c10::make_intrusive<MpiBackend>(MPI_COMM_WORLD)) { FindNodes(); }

  int rank() const override { return backend_->getRank(); }
  int size() const override { return backend_->getSize(); }
  int local_rank() const override { return local_rank_; }
  const std::vector<int>& node_of_rank() const override { return node_of_rank_; }
  double waiting_seconds() const override { return backend_->waiting_seconds(); }
  double moving_seconds() const override { return backend_->moving_seconds(); }

  void AllReduceSum(at::Tensor tensor) override {
    Noted noted(*this, "allreduce");
    std::vector<at::Tensor> tensors = {std::move(tensor)};
    backend_->allreduce(tensors, {});
  }
  void ReduceScatterSum(at::Tensor out, const at::Tensor& in) override {
    Noted noted(*this, "reduce_scatter");
    at::Tensor source = in;
    backend_->_reduce_scatter_base(out, source, {});
  }
  void AllGather(at::Tensor out, const at::Tensor& in) override {
    Noted noted(*this, "allgather");
    at::Tensor source = in;
    backend_->_allgather_base(out, source, {});
  }
  void Broadcast(at::Tensor tensor, int root) override {
    Noted noted(*this, "broadcast");
    std::vector<at::Tensor> tensors = {std::move(tensor)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    backend_->broadcast(tensors, options);
  }
  void Barrier() override {
    Noted noted(*this, "barrier");
    backend_->barrier({});
  }

 private:
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

std::unique_ptr<Comm> MakeMpiComm() {
  InitMpi();
  return std::make_unique<MpiComm>();
}

void ShutdownMpi() {
  if (MpiIsUp()) MPI_Finalize();
}

void AbortMpi(int code) {
  if (MpiIsUp()) MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

}  // namespace contrail::worker
