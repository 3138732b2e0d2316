#pragma once
// In which types sums over ranks are formed.

#include <ATen/core/Tensor.h>

#include "common/error.h"

namespace contrail::worker {

// Calls use(Row(), Sum(), Out()): what one rank's values travel as, what they are added in, and
// what the sum is stored as. `stored` is the tensor's type, `travels` another one only where fp32
// travels as bf16.
template <typename Use>
void WithSumTypes(at::ScalarType stored, at::ScalarType travels, const Use& use) {
  if (stored != travels) return use(c10::BFloat16(), float(), float());
  switch (stored) {
    case at::kFloat:
      return use(float(), float(), float());
    case at::kDouble:
      return use(double(), double(), double());
    case at::kBFloat16:
      return use(c10::BFloat16(), float(), c10::BFloat16());
    case at::kHalf:
      return use(c10::Half(), float(), c10::Half());
    case at::kInt:
      return use(int32_t(), int32_t(), int32_t());
    case at::kLong:
      return use(int64_t(), int64_t(), int64_t());
    case at::kByte:
      return use(uint8_t(), uint8_t(), uint8_t());
    default:
      CONTRAIL_ASSERT(!"supported type");
  }
}

}  // namespace contrail::worker
