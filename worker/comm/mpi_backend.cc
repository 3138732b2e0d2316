#include "worker/comm/mpi_backend.h"

#include "common/error.h"

namespace contrail::worker {
namespace {

// Below this, gathering all values and summing locally beats two exchanges.
constexpr int64_t kSmallBytes = 64 << 10;

class FinishedWork final : public c10d::Work {
 public:
  FinishedWork(int rank, c10d::OpType type) : c10d::Work(rank, type) { finish(); }
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
    : c10d::Backend(RankIn(comm), SizeOf(comm)), limits_(limits), sum_(limits.chunk_elements) {
  group_.rank = getRank();
  group_.size = getSize();
  group_.operation = "duplicating the communicator";
  group_.Check(MPI_Comm_dup(comm, &group_.comm));
  group_.Check(MPI_Comm_set_errhandler(group_.comm, MPI_ERRORS_RETURN));
}

MpiBackend::~MpiBackend() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Comm_free(&group_.comm);
}

template <typename Body>
c10::intrusive_ptr<c10d::Work> MpiBackend::Run(const char* operation, c10d::OpType type,
                                               Body body) {
  ++group_.sequence;
  group_.operation = operation;
  const double start = MPI_Wtime();
  AwaitPeers(group_);
  const double all_here = MPI_Wtime();
  body();
  waiting_seconds_ += all_here - start;
  moving_seconds_ += MPI_Wtime() - all_here;
  return c10::make_intrusive<FinishedWork>(getRank(), type);
}

c10::intrusive_ptr<c10d::Work> MpiBackend::allreduce(std::vector<at::Tensor>& tensors,
                                                     const c10d::AllreduceOptions& options) {
  CONTRAIL_ASSERT(tensors.size() == 1 && options.reduceOp.op_ == c10d::ReduceOp::SUM);
  const at::Tensor& tensor = tensors[0];
  CheckTensor(tensor);
  return Run("allreduce", c10d::OpType::ALLREDUCE, [&] {
    if (group_.size == 1) return;
    if (tensor.numel() * tensor.element_size() * group_.size <= kSmallBytes) {
      sum_.ReduceSmall(group_, tensor);
      return;
    }
    const at::Tensor flat = tensor.view(-1);
    const MPI_Datatype type = MpiType(flat.scalar_type());
    for (int64_t done = 0; done < flat.numel(); done += limits_.max_count) {
      const at::Tensor piece =
          flat.narrow(0, done, std::min(limits_.max_count, flat.numel() - done));
      const std::vector<int64_t> begin = EqualSlices(piece.numel(), group_.size);
      const int64_t own = begin[group_.rank + 1] - begin[group_.rank];
      sum_.ReduceSlice(group_, piece, begin, piece.narrow(0, begin[group_.rank], own));
      std::vector<int> counts;
      for (int q = 0; q < group_.size; ++q) {
        counts.push_back(static_cast<int>(begin[q + 1] - begin[q]));
      }
      const std::vector<int> displacements(begin.begin(), begin.end() - 1);
      group_.Check(MPI_Allgatherv(MPI_IN_PLACE, 0, type, piece.data_ptr(), counts.data(),
                                  displacements.data(), type, group_.comm));
    }
  });
}

c10::intrusive_ptr<c10d::Work> MpiBackend::_reduce_scatter_base(
    at::Tensor& out, at::Tensor& in, const c10d::ReduceScatterOptions& options) {
  CONTRAIL_ASSERT(options.reduceOp.op_ == c10d::ReduceOp::SUM);
  CONTRAIL_ASSERT(in.numel() == out.numel() * group_.size && in.scalar_type() == out.scalar_type());
  CheckTensor(in);
  CheckTensor(out);
  return Run("reduce_scatter", c10d::OpType::_REDUCE_SCATTER_BASE,
             [&] { sum_.ReduceSlice(group_, in, EqualSlices(in.numel(), group_.size), out); });
}

c10::intrusive_ptr<c10d::Work> MpiBackend::_allgather_base(at::Tensor& out, at::Tensor& in,
                                                           const c10d::AllgatherOptions&) {
  CONTRAIL_ASSERT(out.numel() == in.numel() * group_.size && in.scalar_type() == out.scalar_type());
  CheckTensor(in);
  CheckTensor(out);
  return Run("allgather", c10d::OpType::_ALLGATHER_BASE,
             [&] { GatherChunked(out.data_ptr(), in.data_ptr(), in.numel(), in.scalar_type()); });
}

void MpiBackend::GatherChunked(void* out, const void* in, int64_t count, at::ScalarType scalar) {
  const MPI_Datatype element = MpiType(scalar);
  const int64_t width = static_cast<int64_t>(c10::elementSize(scalar));
  char* target = static_cast<char*>(out);
  const char* source = static_cast<const char*>(in);
  const bool in_place = source == target + group_.rank * count * width;
  if (count <= limits_.max_count) {
    const int n = static_cast<int>(count);
    group_.Check(
        MPI_Allgather(in_place ? MPI_IN_PLACE : in, n, element, out, n, element, group_.comm));
    return;
  }
  // One column of all ranks' slices at a time: `n` elements from each, a whole slice apart.
  for (int64_t done = 0; done < count; done += limits_.max_count) {
    const int n = static_cast<int>(std::min(limits_.max_count, count - done));
    MPI_Datatype run = MPI_DATATYPE_NULL;
    MPI_Datatype column = MPI_DATATYPE_NULL;
    group_.Check(MPI_Type_contiguous(n, element, &run));
    group_.Check(MPI_Type_create_resized(run, 0, count * width, &column));
    group_.Check(MPI_Type_commit(&column));
    const int code = MPI_Allgather(in_place ? MPI_IN_PLACE : source + done * width, n, element,
                                   target + done * width, 1, column, group_.comm);
    MPI_Type_free(&column);
    MPI_Type_free(&run);
    group_.Check(code);
  }
}

c10::intrusive_ptr<c10d::Work> MpiBackend::broadcast(std::vector<at::Tensor>& tensors,
                                                     const c10d::BroadcastOptions& options) {
  CONTRAIL_ASSERT(tensors.size() == 1);
  CheckTensor(tensors[0]);
  return Run("broadcast", c10d::OpType::BROADCAST, [&] {
    const at::Tensor flat = tensors[0].view(-1);
    for (int64_t done = 0; done < flat.numel(); done += limits_.max_count) {
      const int64_t n = std::min(limits_.max_count, flat.numel() - done);
      group_.Check(MPI_Bcast(flat.narrow(0, done, n).data_ptr(), static_cast<int>(n),
                             MpiType(flat.scalar_type()), static_cast<int>(options.rootRank),
                             group_.comm));
    }
  });
}

c10::intrusive_ptr<c10d::Work> MpiBackend::barrier(const c10d::BarrierOptions&) {
  return Run("barrier", c10d::OpType::BARRIER, [] {});
}

}  // namespace contrail::worker
