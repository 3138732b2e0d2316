// What this machine can do, as a peer for programs that live by one of its limits.
//   limits memory ELEMENTS THREADS     four arrays read, three of them written, as by AdamW
//   limits gemm THREADS                fp32 matrix products of 2048 x 2048 x 2048
// A repetition of `memory` moves 28 bytes an element; one of `gemm` is 17.18 GFLOP. Each is done
// in the ways known and the fastest is taken: plain or streaming stores on pages as they come or
// huge ones; ATen's product or that of the op table. The figure is the number of the way.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <sys/mman.h>
#include <xmmintrin.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "bench/serve.h"
#include "common/clock.h"
#include "model/ops/op_table.h"
#include "worker/omp_wait.h"

namespace contrail::bench {
namespace {

constexpr int64_t kLine = 16;  // floats a cache line

struct Arrays {
  float *a, *b, *c, *d;
};

float* Allocate(int64_t elements, bool huge_pages) {
  const size_t bytes = static_cast<size_t>(elements) * sizeof(float);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  if (huge_pages) madvise(memory, bytes, MADV_HUGEPAGE);
  auto* floats = static_cast<float*>(memory);
  for (int64_t i = 0; i < elements; ++i) floats[i] = 1;
  return floats;
}

// b += a, c += a, d += a: nothing to compute, all to move.
void Move(float* __restrict b, float* __restrict c, float* __restrict d, const float* __restrict a,
          int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    b[i] += a[i];
    c[i] += a[i];
    d[i] += a[i];
  }
}

void AddStreaming(float* to, const float* a) {
  for (int64_t i = 0; i < kLine; i += 4) {
    _mm_stream_ps(to + i, _mm_add_ps(_mm_load_ps(to + i), _mm_load_ps(a + i)));
  }
}

void MoveStreaming(float* b, float* c, float* d, const float* a, int64_t count) {
  for (int64_t i = 0; i < count; i += kLine) {
    AddStreaming(b + i, a + i);
    AddStreaming(c + i, a + i);
    AddStreaming(d + i, a + i);
  }
  _mm_sfence();
}

void MoveAll(const Arrays& x, int64_t elements, bool streaming) {
  constexpr int64_t kBlock = int64_t{1} << 15;
  at::parallel_for(0, elements / kBlock, 1, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kBlock, count = (last - first) * kBlock;
    (streaming ? MoveStreaming : Move)(x.b + begin, x.c + begin, x.d + begin, x.a + begin, count);
  });
}

double Seconds(const std::function<void()>& run) {
  const double begin = SystemClock().Monotonic();
  run();
  return SystemClock().Monotonic() - begin;
}

// Of several ways to do the same, the one whose best of five is best.
size_t Fastest(const std::vector<std::function<void()>>& ways) {
  std::vector<double> best(ways.size(), 1e9);
  for (int round = 0; round < 5; ++round) {
    for (size_t i = 0; i < ways.size(); ++i) best[i] = std::min(best[i], Seconds(ways[i]));
  }
  return static_cast<size_t>(std::min_element(best.begin(), best.end()) - best.begin());
}

int Repeat(const std::vector<std::function<void()>>& ways) {
  const size_t way = Fastest(ways);
  return Serve([&](int64_t repetitions) {
    for (int64_t i = 0; i < repetitions; ++i) ways[way]();
    return static_cast<double>(way);
  });
}

int Memory(int64_t elements) {
  std::vector<std::function<void()>> ways;
  for (const bool huge : {false, true}) {
    const Arrays x = {Allocate(elements, huge), Allocate(elements, huge), Allocate(elements, huge),
                      Allocate(elements, huge)};
    for (const bool streaming : {false, true}) {
      ways.push_back([x, elements, streaming] { MoveAll(x, elements, streaming); });
    }
  }
  return Repeat(ways);
}

int Gemm() {
  const at::Tensor a = at::randn({2048, 2048}), b = at::randn({2048, 2048});
  at::Tensor c = at::empty({2048, 2048});
  return Repeat({[&] { at::mm_out(c, a, b.t()); },
                 [&] {
                   model::CpuOps().Linear(model::AsView(a), model::AsView(b), {}, {},
                                          model::AsView(c));
                 }});
}

}  // namespace
}  // namespace contrail::bench

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (!(what == "memory" && argc == 4) && !(what == "gemm" && argc == 3)) {
    std::fputs("limits memory ELEMENTS THREADS | limits gemm THREADS\n", stderr);
    return 2;
  }
  contrail::worker::SleepWhileWaiting(argc, argv);
  const c10::InferenceMode no_autograd;
  at::set_num_threads(std::atoi(argv[argc - 1]));
  return what == "gemm" ? contrail::bench::Gemm() : contrail::bench::Memory(std::atol(argv[2]));
}
