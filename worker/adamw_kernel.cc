#include "worker/adamw_kernel.h"

#include <cmath>

#include "worker/vectorized.h"

namespace contrail::worker {

CONTRAIL_VECTORIZED
void AdamWUpdate(AdamWCoefficients c, int64_t count, const float* __restrict grad,
                 float* __restrict weight, float* __restrict exp_avg,
                 float* __restrict exp_avg_sq) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = c.grad_scale * grad[i];
    const float m = c.keep1 * exp_avg[i] + c.take1 * g;
    const float v = c.keep2 * exp_avg_sq[i] + c.take2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    weight[i] = c.shrink * weight[i] - c.rate * m / (std::sqrt(v) * c.root_scale + c.epsilon);
  }
}

CONTRAIL_VECTORIZED
double SumOfSquares(const float* values, int64_t count) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      const double value = values[i + lane];
      sums[lane] += value * value;
    }
  }
  for (; i < count; ++i) sums[0] += static_cast<double>(values[i]) * values[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace contrail::worker
