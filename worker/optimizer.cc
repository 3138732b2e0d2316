#include "worker/optimizer.h"

#include <cmath>

#include "common/error.h"
#include "worker/adamw_kernel.h"

namespace contrail::worker {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements a task: 128 kB of each array
constexpr int64_t kPiece =
    1 << 11;  // elements whose new weights are still in the first-level cache

}  // namespace

void AdamWStep(FlatParams& flat, int bucket, const AdamWOptions& options, uint64_t step, double lr,
               double grad_scale) {
  CONTRAIL_ASSERT(step > 0);
  const double t = static_cast<double>(step);
  AdamWCoefficients c;
  c.grad_scale = static_cast<float>(grad_scale);
  c.keep1 = static_cast<float>(options.beta1);
  c.take1 = static_cast<float>(1 - options.beta1);
  c.keep2 = static_cast<float>(options.beta2);
  c.take2 = static_cast<float>(1 - options.beta2);
  c.rate = static_cast<float>(lr / (1 - std::pow(options.beta1, t)));
  c.root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, t)));
  c.epsilon = static_cast<float>(options.epsilon);

  const float* grad = flat.own_grads(bucket).data_ptr<float>();
  float* weight = flat.own_weights(bucket).data_ptr<float>();
  float* exp_avg = flat.own_exp_avg(bucket).data_ptr<float>();
  float* exp_avg_sq = flat.own_exp_avg_sq(bucket).data_ptr<float>();
  const at::Tensor working = flat.own_working(bucket);
  const bool rounds = working.scalar_type() != at::kFloat;
  const Narrow narrow = working.scalar_type() == at::kHalf ? Narrow::kHalf : Narrow::kBFloat16;
  uint16_t* rounded = rounds ? static_cast<uint16_t*>(working.data_ptr()) : nullptr;
  for (const FlatParams::Stretch& stretch : flat.own_stretches(bucket)) {
    c.shrink = static_cast<float>(1 - (stretch.decay ? lr * options.weight_decay : 0));
    // Whole blocks, so that no element's rounding depends on the number of threads.
    const int64_t blocks = (stretch.end - stretch.begin + kGrain - 1) / kGrain;
    at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
      const int64_t begin = stretch.begin + first * kGrain;
      const int64_t end = std::min(stretch.end, stretch.begin + last * kGrain);
      for (int64_t i = begin; i < end; i += kPiece) {
        const int64_t count = std::min(kPiece, end - i);
        AdamWUpdate(c, count, grad + i, weight + i, exp_avg + i, exp_avg_sq + i);
        if (rounds) RoundTo(narrow, count, weight + i, rounded + i);
      }
    });
  }
}

double SumOfOwnGradSquares(const FlatParams& flat) {
  double sum = 0;
  for (int bucket = 0; bucket < flat.num_buckets(); ++bucket) {
    const at::Tensor own = flat.own_grads(bucket);
    const float* grad = own.data_ptr<float>();
    const int64_t blocks = (own.numel() + kGrain - 1) / kGrain;
    std::vector<double> partial(blocks);
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * kGrain;
        partial[block] = SumOfSquares(grad + first, std::min(kGrain, own.numel() - first));
      }
    });
    for (double part : partial) sum += part;
  }
  return sum;
}

double GlobalGradNorm(const FlatParams& flat, Comm& comm) {
  const double sum = SumOfOwnGradSquares(flat);
  at::Tensor total = at::full({1}, sum, at::kDouble);
  comm.AllReduceSum(total);
  return std::sqrt(total.item<double>());
}

double ClipScale(double norm, double max_norm) {
  if (max_norm <= 0 || norm <= max_norm) return 1;
  return max_norm / norm;
}

double ClampLogitScale(at::Tensor log_scale, double max_scale) {
  float* value = log_scale.data_ptr<float>();
  *value = std::min(std::max(*value, 0.0f), static_cast<float>(std::log(max_scale)));
  return std::exp(static_cast<double>(*value));
}

}  // namespace contrail::worker
