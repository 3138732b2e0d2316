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

// Bit patterns of the nearest bf16 or fp16 numbers, ties to even; what is too large becomes
// infinite.
enum class Narrow { kBFloat16, kHalf };
void RoundTo(Narrow type, int64_t count, const float* from, uint16_t* to);

// bf16 patterns as floats, exactly.
void Widen(int64_t count, const uint16_t* from, float* to);

// bf16 patterns of one of the two nearest numbers, the nearer the likelier, so that the expected
// result is the number itself, to 2^-16 of a spacing. The draw is a function of (key, index of the
// element), the first of which is `first`: of nothing that depends on ranks or threads.
void RoundStochastically(uint64_t key, int64_t first, int64_t count, const float* from,
                         uint16_t* to);

// In fp64, in the same order of additions for every vector width.
double SumOfSquares(const float* values, int64_t count);

}  // namespace contrail::worker
