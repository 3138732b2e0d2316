// Whole training steps: the trainer's own step on batches that lie in memory, on one rank or, under
// mpirun, on several that share the global batch.
//   step MODEL GLOBAL_BATCH THREADS INPUT WEIGHTS [recompute|bf16|fp16 ...]
// WEIGHTS: a state dict of open_clip's model, which the peer starts from too. recompute: blocks of
// both towers run again in the backward; bf16, fp16: what products compute in. The figure is the
// last step's loss.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "bench/batches.h"
#include "bench/flops.h"
#include "bench/ranks.h"
#include "bench/serve.h"
#include "bench/weights.h"
#include "model/clip.h"
#include "model/registry.h"
#include "worker/comm/comm.h"
#include "worker/flat.h"
#include "worker/omp_wait.h"
#include "worker/optimizer.h"
#include "worker/precision.h"
#include "worker/step.h"

namespace contrail::bench {
namespace {

struct Choice {
  bool recompute = false;
  worker::Precision precision;
};

int Run(const std::string& name, int64_t batch_size, int threads, const std::string& input,
        const std::string& weights, const Choice& choice) {
  const c10::InferenceMode no_autograd;
  at::set_num_threads(threads);
  const auto comm = MakeComm();
  const std::vector<data::Batch> batches =
      ReadBatches(input, batch_size, comm->rank(), comm->size());

  const bool alone = comm->size() == 1;
  const double before = StatusMib("VmRSS:");
  const auto model = model::ClipModel::Create(model::FindModel(name));
  worker::FlatParams flat(model->params(), comm->rank(), comm->size(),
                          {.matrix_type = choice.precision.type()});
  LoadWeights(weights, *model, flat);
  const bool again = choice.recompute;
  worker::TrainStep step(
      *comm, *model, flat,
      {.global_batch_size = batch_size,
       .recompute = {again, again, again},
       .loss_scale =
           choice.precision.type() == at::kHalf ? worker::LossScale::On() : worker::LossScale()});
  Figures more;
  if (alone) {  // what is resident beyond weights, gradients and moments is activations
    more = {{"base_mib", before + static_cast<double>(flat.bytes()) / (1 << 20)},
            {"arena_mib", static_cast<double>(model->arena_bytes()) / (1 << 20)},
            {"flop", StepFlop(model->spec(), batches[0])}};
  }

  uint64_t update = 0;
  const auto work = [&](int64_t steps) {
    double loss = 0;
    for (int64_t i = 0; i < steps; ++i) {
      monitor::StepTimes times;
      step.Encode(batches[update % batches.size()], times);
      step.Gather(times);
      loss = step.Loss(times).loss;
      step.Backward(times);
      const double norm = std::sqrt(step.OwnGradSquares());
      step.Update(++update, /*lr=*/1e-3, norm, times);
    }
    return loss;
  };
  return Serve(work, TeamOf(*comm), false, more);
}

}  // namespace
}  // namespace contrail::bench

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fputs("step MODEL GLOBAL_BATCH THREADS INPUT WEIGHTS [recompute|bf16|fp16 ...]\n", stderr);
    return 2;
  }
  contrail::bench::Choice choice;
  for (int i = 6; i < argc; ++i) {
    if (std::string(argv[i]) == "recompute") {
      choice.recompute = true;
    } else {
      choice.precision.name = argv[i];
    }
  }
  contrail::worker::SleepWhileWaiting(argc, argv);  // as the trainer does
  const int code = contrail::bench::Run(argv[1], std::atol(argv[2]), std::atoi(argv[3]), argv[4],
                                        argv[5], choice);
  contrail::worker::ShutdownMpi();
  return code;
}
