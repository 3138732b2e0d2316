#include "model/param.h"

#include <numbers>

#include "common/error.h"
#include "common/hash.h"
#include "common/rng.h"

namespace contrail::model {
namespace {

// Draw i of a parameter is word i % 4 of Philox block i / 4: any element can be computed alone.
constexpr int64_t kWordsPerBlock = 4;

double UniformFrom(uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1.0p-32; }

std::array<double, 4> UniformBlock(const std::array<uint32_t, 4>& words, double half_width) {
  std::array<double, 4> draws{};
  for (size_t i = 0; i < 4; ++i) draws[i] = (2.0 * UniformFrom(words[i]) - 1.0) * half_width;
  return draws;
}

std::array<double, 4> NormalBlock(const std::array<uint32_t, 4>& words, double deviation) {
  std::array<double, 4> draws{};
  for (size_t i = 0; i < 4; i += 2) {  // Box-Muller, two words to two draws
    const double radius = deviation * std::sqrt(-2.0 * std::log(UniformFrom(words[i])));
    const double angle = 2.0 * std::numbers::pi * UniformFrom(words[i + 1]);
    draws[i] = radius * std::cos(angle);
    draws[i + 1] = radius * std::sin(angle);
  }
  return draws;
}

template <typename T>
void FillRandom(const Init& init, uint64_t key, uint64_t stream, T* out, int64_t n) {
  const int64_t blocks = (n + kWordsPerBlock - 1) / kWordsPerBlock;
  at::parallel_for(0, blocks, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const auto words = Philox(key, stream, static_cast<uint64_t>(block));
      const auto draws = init.kind == Init::Kind::kNormal ? NormalBlock(words, init.value)
                                                          : UniformBlock(words, init.value);
      const int64_t first = block * kWordsPerBlock;
      const int64_t count = std::min(kWordsPerBlock, n - first);
      for (int64_t i = 0; i < count; ++i) out[first + i] = static_cast<T>(draws[i]);
    }
  });
}

}  // namespace

int64_t NumElements(const ParamSpec& spec) {
  int64_t n = 1;
  for (const int64_t size : spec.shape) n *= size;
  return n;
}

void InitParam(const ParamSpec& spec, uint64_t seed, at::Tensor out) {
  CONTRAIL_ASSERT(out.numel() == NumElements(spec) && out.is_contiguous() && out.is_cpu());
  const uint64_t key = Mix64(seed);
  const uint64_t stream = Fnv1a(spec.name);
  AT_DISPATCH_FLOATING_TYPES(out.scalar_type(), "InitParam", [&] {
    scalar_t* data = out.mutable_data_ptr<scalar_t>();
    switch (spec.init.kind) {
      case Init::Kind::kZeros:
        std::fill_n(data, out.numel(), scalar_t{0});
        break;
      case Init::Kind::kOnes:
        std::fill_n(data, out.numel(), scalar_t{1});
        break;
      case Init::Kind::kConstant:
        std::fill_n(data, out.numel(), static_cast<scalar_t>(spec.init.value));
        break;
      case Init::Kind::kNormal:
      case Init::Kind::kUniform:
        FillRandom(spec.init, key, stream, data, out.numel());
        break;
    }
  });
}

}  // namespace contrail::model
