// The loss of ranks that share a global batch: gather, loss, gradients of own features.
//   mpirun -n N loss_ranks GLOBAL_BATCH DIM THREADS
// The figure is the loss.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "bench/ranks.h"
#include "model/contrastive_loss.h"

namespace contrail::bench {
namespace {

int Run(int64_t batch, int64_t dim, int threads) {
  const c10::InferenceMode no_autograd;
  at::set_num_threads(threads);
  at::manual_seed(1);  // every rank, and the peer, draws all features
  const auto comm = MakeComm();
  const int64_t own = batch / comm->size(), offset = own * comm->rank();
  const auto features = [&] {
    const at::Tensor draws = at::randn({batch, dim});
    return (draws / draws.norm(2, {1}, true)).narrow(0, offset, own).contiguous();
  };
  const at::Tensor image = features(), text = features();
  at::Tensor packed = at::empty({own, 2 * dim}), gathered = at::empty({batch, 2 * dim});
  at::Tensor d_image = at::empty_like(image), d_text = at::empty_like(text);
  model::ContrastiveLoss loss(own, batch, dim);
  const auto work = [&](int64_t repetitions) {
    double value = 0;
    for (int64_t i = 0; i < repetitions; ++i) {
      packed.narrow(1, 0, dim).copy_(image);
      packed.narrow(1, dim, dim).copy_(text);
      comm->AllGather(gathered, packed);
      value = loss.Compute({image, text, gathered.narrow(1, 0, dim), gathered.narrow(1, dim, dim),
                            offset, 1 / 0.07},
                           d_image, d_text,
                           [&](at::Tensor tensor) { comm->AllReduceSum(std::move(tensor)); })
                  .loss;
    }
    return value;
  };
  return Serve(work, TeamOf(*comm));
}

}  // namespace
}  // namespace contrail::bench

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("loss_ranks GLOBAL_BATCH DIM THREADS\n", stderr);
    return 2;
  }
  const int code = contrail::bench::Run(std::atol(argv[1]), std::atol(argv[2]), std::atoi(argv[3]));
  contrail::worker::ShutdownMpi();
  return code;
}
