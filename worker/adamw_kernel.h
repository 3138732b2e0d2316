#pragma once
// The loops of the optimizer. Free of torch: this file is compiled with flags of its own
// (worker/CMakeLists.txt), without which the compiler does not vectorize a square root.

#include <cstdint>

namespace contrail::worker {

struct AdamWCoefficients {
  float grad_scale = 1;
  float keep1 = 0, take1 = 0;  // beta1, 1 - beta1
  float keep2 = 0, take2 = 0;
  float shrink = 1;      // 1 - lr * weight decay
  float rate = 0;        // lr / (1 - beta1^t)
  float root_scale = 1;  // 1 / sqrt(1 - beta2^t)
  float epsilon = 0;
};

// One update of `count` elements; the arrays do not overlap.
void AdamWUpdate(AdamWCoefficients c, int64_t count, const float* grad, float* weight,
                 float* exp_avg, float* exp_avg_sq);

// In fp64, in the same order of additions for every vector width.
double SumOfSquares(const float* values, int64_t count);

}  // namespace contrail::worker
