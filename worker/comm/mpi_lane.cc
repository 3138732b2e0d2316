#include "worker/comm/mpi_lane.h"

#include <cstdio>
#include <cstring>

#include "common/error.h"

namespace contrail::worker {
namespace {

// Below this, gathering all values and summing locally beats two exchanges.
constexpr int64_t kSmallBytes = 64 << 10;

}  // namespace

int64_t BytesOf(const Collective& collective) {
  const auto bytes = [](const at::Tensor& tensor) {
    return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
  };
  return std::max(bytes(collective.in), bytes(collective.out));
}

MpiLane::MpiLane(MPI_Comm comm, MpiLimits limits, Ledger& ledger, RollCall& roll)
    : limits_(limits), sum_(limits.chunk_elements), ledger_(ledger), roll_(roll) {
  MPI_Comm_rank(comm, &group_.rank);
  MPI_Comm_size(comm, &group_.size);
  group_.Check(MPI_Comm_dup(comm, &group_.comm));
  group_.Check(MPI_Comm_set_errhandler(group_.comm, MPI_ERRORS_RETURN));
  if (Direct()) return;
  halving_ = std::make_unique<Halving>(group_.rank, group_.size, limits_.chunk_elements,
                                       limits_.max_count);
}

MpiLane::~MpiLane() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Comm_free(&group_.comm);
}

void MpiLane::Run(const Collective& collective, double timeout) {
  group_.sequence = collective.sequence;
  group_.operation = collective.operation;
  group_.timeout = timeout;
  group_.messages = 0;
  group_.StartClock();
  const double start = MPI_Wtime();
  double all_here = start;
  bool arrived = false;
  try {
    AwaitPeers(group_);
    all_here = MPI_Wtime();
    arrived = true;
    Move(collective);
  } catch (const TimedOut&) {
    GiveUp(collective, arrived);
  } catch (...) {
    ledger_.Leave(collective.sequence, all_here - start, MPI_Wtime() - all_here);
    throw;
  }
  ledger_.Leave(collective.sequence, all_here - start, MPI_Wtime() - all_here, group_.messages);
}

void MpiLane::Move(const Collective& collective) {
  switch (collective.operation) {
    case Ledger::Operation::kAllReduce:
      return AllReduce(collective.out);
    case Ledger::Operation::kReduceScatter:
      return ReduceSlice(collective.in, EqualSlices(collective.in.numel(), group_.size),
                         collective.out, collective.wire);
    case Ledger::Operation::kAllGather:
      return AllGather(collective.out, collective.in);
    case Ledger::Operation::kBroadcast:
      return Broadcast(collective.out, collective.root);
    case Ledger::Operation::kBarrier:
      return;
    case Ledger::Operation::kNone:
      break;
  }
  CONTRAIL_ASSERT(!"an operation");
}

void MpiLane::ReduceSlice(const at::Tensor& in, const std::vector<int64_t>& begin,
                          const at::Tensor& out, Wire wire) {
  if (halving_) return halving_->ReduceSlice(group_, in, begin, out, wire);
  sum_.ReduceSlice(group_, in, begin, out, wire);
}

void MpiLane::AllReduce(const at::Tensor& tensor) {
  if (group_.size == 1) return;
  if (static_cast<int64_t>(tensor.nbytes()) * group_.size <= kSmallBytes) {
    return AllReduceSmall(tensor);
  }
  const at::Tensor flat = tensor.view(-1);
  for (int64_t done = 0; done < flat.numel(); done += limits_.max_count) {
    const at::Tensor piece = flat.narrow(0, done, std::min(limits_.max_count, flat.numel() - done));
    const std::vector<int64_t> begin = EqualSlices(piece.numel(), group_.size);
    const int64_t own = begin[group_.rank + 1] - begin[group_.rank];
    ReduceSlice(piece, begin, piece.narrow(0, begin[group_.rank], own), Wire::kAsStored);
    GatherSlices(piece, begin);
  }
}

// In the order of ranks, however they exchange.
void MpiLane::AllReduceSmall(const at::Tensor& tensor) {
  const auto count = static_cast<int>(tensor.numel());
  const at::ScalarType stored = tensor.scalar_type();
  sum_.ReduceSmall(group_, tensor, [&](char* all) {
    if (halving_) {
      std::vector<int64_t> begin;
      for (int64_t q = 0; q <= group_.size; ++q) begin.push_back(q * count);
      return halving_->Gather(group_, all, begin, stored);
    }
    const MPI_Datatype type = MpiType(stored);
    MPI_Request request = MPI_REQUEST_NULL;
    group_.Check(MPI_Iallgather(MPI_IN_PLACE, 0, type, all, count, type, group_.comm, &request));
    Await(group_, &request, Patience::kBrisk);
  });
}

// Slice q of `all` lies at [begin[q], begin[q + 1]); own slice in, all slices out.
void MpiLane::GatherSlices(const at::Tensor& all, const std::vector<int64_t>& begin) {
  if (halving_) {
    return halving_->Gather(group_, static_cast<char*>(all.data_ptr()), begin, all.scalar_type());
  }
  const MPI_Datatype type = MpiType(all.scalar_type());
  std::vector<int> counts;
  for (int q = 0; q < group_.size; ++q) {
    counts.push_back(static_cast<int>(begin[q + 1] - begin[q]));
  }
  const std::vector<int> displacements(begin.begin(), begin.end() - 1);
  MPI_Request request = MPI_REQUEST_NULL;
  group_.Check(MPI_Iallgatherv(MPI_IN_PLACE, 0, type, all.data_ptr(), counts.data(),
                               displacements.data(), type, group_.comm, &request));
  Await(group_, &request, Patience::kBrisk);
}

void MpiLane::AllGather(const at::Tensor& out, const at::Tensor& in) {
  const auto bytes = static_cast<int64_t>(in.nbytes());
  char* own = static_cast<char*>(out.data_ptr()) + group_.rank * bytes;
  const bool in_place = in.data_ptr() == own;
  if (!halving_) return GatherDirectly(out, in, in_place);
  if (!in_place && bytes > 0) std::memcpy(own, in.const_data_ptr(), static_cast<size_t>(bytes));
  GatherSlices(out, EqualSlices(out.numel(), group_.size));
}

void MpiLane::GatherDirectly(const at::Tensor& out, const at::Tensor& in, bool in_place) {
  const int64_t count = in.numel();
  const int64_t width = in.element_size();
  const MPI_Datatype element = MpiType(in.scalar_type());
  char* target = static_cast<char*>(out.data_ptr());
  const char* source = static_cast<const char*>(in.data_ptr());
  MPI_Request request = MPI_REQUEST_NULL;
  if (count <= limits_.max_count) {
    const int n = static_cast<int>(count);
    group_.Check(MPI_Iallgather(in_place ? MPI_IN_PLACE : source, n, element, target, n, element,
                                group_.comm, &request));
    Await(group_, &request, Patience::kBrisk);
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
    const int code = MPI_Iallgather(in_place ? MPI_IN_PLACE : source + done * width, n, element,
                                    target + done * width, 1, column, group_.comm, &request);
    MPI_Type_free(&column);
    MPI_Type_free(&run);
    group_.Check(code);
    Await(group_, &request, Patience::kBrisk);
  }
}

void MpiLane::Broadcast(const at::Tensor& tensor, int root) {
  const at::Tensor flat = tensor.view(-1);
  for (int64_t done = 0; done < flat.numel(); done += limits_.max_count) {
    const int64_t n = std::min(limits_.max_count, flat.numel() - done);
    MPI_Request request = MPI_REQUEST_NULL;
    group_.Check(MPI_Ibcast(flat.narrow(0, done, n).data_ptr(), static_cast<int>(n),
                            MpiType(flat.scalar_type()), root, group_.comm, &request));
    Await(group_, &request, Patience::kBrisk);
  }
}

void MpiLane::GiveUp(const Collective& collective, bool arrived) {
  char waited[128];
  std::snprintf(waited, sizeof waited, " number %llu (%lld bytes) %s for %.4g s; ",
                static_cast<unsigned long long>(collective.sequence),
                static_cast<long long>(BytesOf(collective)),
                arrived ? "moved data" : "waited for other ranks", group_.timeout);
  RollCall::Missing missing = roll_.Call(collective.sequence);
  throw TimeoutError("rank " + std::to_string(group_.rank),
                     OperationName(collective.operation) + std::string(waited) + missing.text,
                     "look at those ranks and their nodes; if they are only slow, raise "
                     "launcher.collective_seconds",
                     std::move(missing.ranks));
}

}  // namespace contrail::worker
