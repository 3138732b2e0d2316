#pragma once
// Loops over ATen's thread pool, denormal numbers off in each of its threads.

#include <ATen/Parallel.h>
#include <xmmintrin.h>

#include <cstdint>

namespace contrail::model {

// Denormals count as zero while one lives: they cost a hundred times a normal number's time and
// carry nothing. Per thread, so every piece of parallel work has its own.
class DenormalsOff {
 public:
  DenormalsOff() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ~DenormalsOff() { _mm_setcsr(saved_); }
  DenormalsOff(const DenormalsOff&) = delete;
  DenormalsOff& operator=(const DenormalsOff&) = delete;

 private:
  unsigned int saved_;
};

template <typename F>
void ParallelFor(int64_t begin, int64_t end, int64_t grain, const F& f) {
  at::parallel_for(begin, end, grain, [&f](int64_t first, int64_t last) {
    const DenormalsOff guard;
    f(first, last);
  });
}

}  // namespace contrail::model
