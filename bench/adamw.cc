// AdamW over all parameters of a model on one rank, as the trainer does it after a step.
//   adamw MODEL THREADS [norm]         norm: the gradient's norm before it, and clipping
// The figure is the mean of |w| over every parameter's first element.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "bench/serve.h"
#include "model/clip.h"
#include "model/registry.h"
#include "worker/comm/comm.h"
#include "worker/flat.h"
#include "worker/omp_wait.h"
#include "worker/optimizer.h"

namespace contrail::bench {
namespace {

int Run(const std::string& name, int threads, bool with_norm) {
  const c10::InferenceMode no_autograd;
  at::set_num_threads(threads);
  at::manual_seed(1);
  const auto comm = worker::MakeSingleComm();
  const auto model = model::ClipModel::Create(model::FindModel(name));
  worker::FlatParams flat(model->params(), 0, 1);
  for (size_t i = 0; i < model->params().size(); ++i) {
    flat.views().weights[i].normal_(0, 0.02);
    flat.views().grads[i].normal_(0, 1e-3);
  }
  uint64_t update = 0;
  return Serve([&](int64_t repetitions) {
    for (int64_t i = 0; i < repetitions; ++i) {
      const double scale =
          with_norm ? worker::ClipScale(worker::GlobalGradNorm(flat, *comm), /*max_norm=*/1) : 1;
      ++update;
      for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
        worker::AdamWStep(flat, bucket, {}, update, /*lr=*/1e-5, scale);
      }
    }
    double sum = 0;
    for (const at::Tensor& weight : flat.views().weights) {
      sum += weight.flatten().narrow(0, 0, 1).abs().item<double>();
    }
    return sum / static_cast<double>(flat.views().weights.size());
  });
}

}  // namespace
}  // namespace contrail::bench

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fputs("adamw MODEL THREADS [norm]\n", stderr);
    return 2;
  }
  contrail::worker::SleepWhileWaiting(argc, argv);  // as the trainer does
  return contrail::bench::Run(argv[1], std::atoi(argv[2]), argc == 4);
}
