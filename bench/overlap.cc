// What communication costs the computing thread, with and without overlap, in turns within a job:
//   mpirun -n RANKS overlap MODEL BATCH_A_RANK INPUT [STEPS [TURNS]]
// Rank 0 prints, for both: seconds a step, and the seconds of it in which a rank waited for
// gradients and weights (mean over ranks, median over steps). One thread a rank.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/batches.h"
#include "model/clip.h"
#include "worker/comm/comm.h"
#include "worker/omp_wait.h"
#include "worker/step.h"

namespace contrail::bench {
namespace {

struct Seconds {
  std::vector<double> step, reduce, gather;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

double MeanOverRanks(worker::Comm& comm, double value) {
  at::Tensor sum = at::full({1}, value, at::kDouble);
  comm.AllReduceSum(sum);
  return sum.item<double>() / comm.size();
}

void Turn(worker::Comm& comm, model::ClipModel& model, worker::FlatParams& flat,
          const worker::TrainStep::Options& options, const std::vector<data::Batch>& batches,
          int steps, uint64_t& update, Seconds& seconds) {
  worker::TrainStep step(comm, model, flat, options);
  for (int i = 0; i <= steps; ++i) {
    monitor::StepTimes times;
    const double start = MPI_Wtime();
    step.Encode(batches[update % batches.size()], times);
    step.Gather(times);
    step.Loss(times);
    step.Backward(times);
    const double norm = GlobalGradNorm(flat, comm);
    step.Update(++update, /*lr=*/1e-3, norm, times);
    const double total = MPI_Wtime() - start;
    if (i == 0) continue;  // nothing was under way before it
    seconds.step.push_back(MeanOverRanks(comm, total));
    seconds.reduce.push_back(MeanOverRanks(comm, times.grad_reduce));
    seconds.gather.push_back(MeanOverRanks(comm, times.weight_gather));
  }
}

void Run(const std::string& name, int64_t share, const std::string& input, int steps, int turns) {
  const c10::InferenceMode no_autograd;
  at::set_num_threads(1);
  const auto comm = worker::MakeMpiComm();
  // Every rank its own part of the input.
  std::vector<data::Batch> batches = ReadBatches(input, share);
  std::rotate(batches.begin(), batches.begin() + comm->rank() % std::ssize(batches), batches.end());
  const auto model = model::ClipModel::Create(model::FindModel(name));
  worker::FlatParams flat(model->params(), comm->rank(), comm->size());
  for (size_t i = 0; i < model->params().size(); ++i) {
    model::InitParam(model->params()[i], /*seed=*/1, flat.views().weights[i]);
  }
  model->Bind(flat.views());

  uint64_t update = 0;
  Seconds with, without;
  for (int turn = 0; turn < turns; ++turn) {
    worker::TrainStep::Options options{.global_batch_size = share * comm->size(), .overlap = true};
    Turn(*comm, *model, flat, options, batches, steps, update, with);
    options.overlap = false;
    Turn(*comm, *model, flat, options, batches, steps, update, without);
  }
  if (comm->rank() != 0) return;
  for (const auto& [what, s] : {std::pair("with overlap", &with), {"without", &without}}) {
    const double exposed = Median(s->reduce) + Median(s->gather);
    std::printf(
        "%s, %d ranks, B=%lld, %d buckets, %s: %.3f s a step, exposed communication %.1f ms "
        "(gradients %.1f, weights %.1f) = %.1f %%\n",
        name.c_str(), comm->size(), static_cast<long long>(share * comm->size()),
        flat.num_buckets(), what, Median(s->step), 1e3 * exposed, 1e3 * Median(s->reduce),
        1e3 * Median(s->gather), 100 * exposed / Median(s->step));
  }
}

}  // namespace
}  // namespace contrail::bench

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("mpirun -n RANKS overlap MODEL BATCH_A_RANK INPUT [STEPS [TURNS]]\n", stderr);
    return 2;
  }
  contrail::worker::SleepWhileWaiting(argc, argv);  // as the trainer does
  contrail::bench::Run(argv[1], std::atol(argv[2]), argv[3], argc > 4 ? std::atoi(argv[4]) : 5,
                       argc > 5 ? std::atoi(argv[5]) : 3);
  contrail::worker::ShutdownMpi();
}
