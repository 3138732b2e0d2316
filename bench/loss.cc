// The contrastive loss and its gradients over one large batch on one rank.
//   loss BATCH DIM THREADS
// The figure is the loss; memory is what comes on top of the features.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "bench/serve.h"
#include "model/contrastive_loss.h"
#include "worker/omp_wait.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("loss BATCH DIM THREADS\n", stderr);
    return 2;
  }
  contrail::worker::SleepWhileWaiting(argc, argv);  // as the trainer does
  const int64_t rows = std::atol(argv[1]), dim = std::atol(argv[2]);
  const c10::InferenceMode no_autograd;
  at::set_num_threads(std::atoi(argv[3]));
  at::manual_seed(1);  // the peer draws the same features
  const auto features = [&] {
    const at::Tensor draws = at::randn({rows, dim});
    return draws / draws.norm(2, {1}, true);
  };
  const at::Tensor image = features(), text = features();
  at::Tensor d_image, d_text;
  std::unique_ptr<contrail::model::ContrastiveLoss> loss;
  const auto work = [&](int64_t repetitions) {
    if (loss == nullptr) {  // only now, so that it counts
      d_image = at::empty_like(image);
      d_text = at::empty_like(text);
      loss = std::make_unique<contrail::model::ContrastiveLoss>(rows, rows, dim);
    }
    double value = 0;
    for (int64_t i = 0; i < repetitions; ++i) {
      value = loss->Compute({image, text, image, text, 0, 1 / 0.07}, d_image, d_text,
                            [](const at::Tensor&) {})
                  .loss;
    }
    return value;
  };
  return contrail::bench::Serve(work, {}, /*beyond_ready=*/true);
}
