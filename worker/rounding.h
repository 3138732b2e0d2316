#pragma once
// From fp32 to 16 bits and back, as the optimizer and the wire need it. Free of torch, as
// adamw_kernel.h is.

#include <cstdint>

namespace contrail::worker {

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

}  // namespace contrail::worker
