// Sums over ranks beside MPI's own, in turns within one job:
//   mpirun -n RANKS collectives [MEGABYTES [PAIRS]]
// All-reduce against MPI_Allreduce and reduce-scatter against MPI_Reduce_scatter, both in place,
// fp32; then the stages of many ranks against the direct exchange of few, both with these ranks.
// Rank 0 prints one line each: both medians and the median of the pairs' ratios.

#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "worker/comm/comm.h"
#include "worker/comm/mpi_backend.h"

namespace contrail::bench {
namespace {

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

// Seconds from a common start to the end on the last rank.
double Timed(const std::function<void()>& call) {
  MPI_Barrier(MPI_COMM_WORLD);
  const double start = MPI_Wtime();
  call();
  double seconds = MPI_Wtime() - start;
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return seconds;
}

void Compare(const worker::Comm& comm, const char* name, const char* peer, int64_t bytes, int pairs,
             const std::function<void()>& ours, const std::function<void()>& raw) {
  std::vector<double> a, b, ratio;
  ours();
  raw();
  for (int i = 0; i < pairs; ++i) {
    a.push_back(Timed(ours));
    b.push_back(Timed(raw));
    ratio.push_back(b.back() / a.back());
  }
  if (comm.rank() != 0) return;
  std::printf("%s, %lld MB, %d ranks: %.1f ms, %s %.1f ms: %.2fx its rate (median of %d pairs)\n",
              name, static_cast<long long>(bytes >> 20), comm.size(), 1e3 * Median(a), peer,
              1e3 * Median(b), Median(ratio), pairs);
  std::fflush(stdout);
}

void CompareExchanges(const worker::Comm& comm, at::Tensor tensor, at::Tensor own, int pairs) {
  worker::MpiBackend direct(MPI_COMM_WORLD, {.direct_ranks = comm.size()});
  worker::MpiBackend staged(MPI_COMM_WORLD, {.direct_ranks = 0});
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  for (const worker::Wire wire : {worker::Wire::kAsStored, worker::Wire::kBFloat16}) {
    const bool rounded = wire == worker::Wire::kBFloat16;
    Compare(
        comm, rounded ? "bf16 reduce-scatter in stages" : "reduce-scatter in stages", "directly",
        bytes, pairs, [&] { staged.ReduceScatter(own, tensor, wire, false); },
        [&] { direct.ReduceScatter(own, tensor, wire, false); });
  }
  const auto gather = [&](worker::MpiBackend& backend) {
    c10d::AllgatherOptions options;
    options.asyncOp = false;
    backend._allgather_base(tensor, own, options);
  };
  Compare(
      comm, "all-gather in stages", "directly", bytes, pairs, [&] { gather(staged); },
      [&] { gather(direct); });
}

void Run(int64_t megabytes, int pairs) {
  const auto comm = worker::MakeMpiComm();
  const int64_t bytes = megabytes << 20;
  const int64_t slice = bytes / 4 / comm->size();
  const int64_t count = slice * comm->size();
  at::Tensor tensor = at::zeros({count}, at::kFloat);
  at::Tensor own = tensor.narrow(0, comm->rank() * slice, slice);
  const std::vector<int> counts(comm->size(), static_cast<int>(slice));

  Compare(
      *comm, "all-reduce", "MPI_Allreduce", bytes, pairs, [&] { comm->AllReduceSum(tensor); },
      [&] {
        MPI_Allreduce(MPI_IN_PLACE, tensor.data_ptr(), static_cast<int>(count), MPI_FLOAT, MPI_SUM,
                      MPI_COMM_WORLD);
      });
  Compare(
      *comm, "reduce-scatter", "MPI_Reduce_scatter", bytes, pairs,
      [&] { comm->ReduceScatterSum(own, tensor); },
      [&] {
        MPI_Reduce_scatter(MPI_IN_PLACE, tensor.data_ptr(), counts.data(), MPI_FLOAT, MPI_SUM,
                           MPI_COMM_WORLD);
      });
  Compare(
      *comm, "all-gather", "MPI_Allgather", bytes, pairs, [&] { comm->AllGather(tensor, own); },
      [&] {
        MPI_Allgather(MPI_IN_PLACE, static_cast<int>(slice), MPI_FLOAT, tensor.data_ptr(),
                      static_cast<int>(slice), MPI_FLOAT, MPI_COMM_WORLD);
      });
  CompareExchanges(*comm, tensor, own, pairs);
}

}  // namespace
}  // namespace contrail::bench

int main(int argc, char** argv) {
  contrail::bench::Run(argc > 1 ? std::atol(argv[1]) : 64, argc > 2 ? std::atoi(argv[2]) : 9);
  contrail::worker::ShutdownMpi();
}
