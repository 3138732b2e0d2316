// Vectors of the instruction set a file is compiled for, by GCC's vector extensions. Included only
// by the isa_*.cc files, which define CONTRAIL_ISA (a namespace) and CONTRAIL_VECTOR_BYTES. Those
// files include no header with inline functions: the linker would keep one copy for all of them.

#if CONTRAIL_VECTOR_BYTES == 64
#include <immintrin.h>  // masks and reductions, which the vector extensions do not have
#endif

#include <cstdint>
#include <type_traits>

namespace contrail::model::kernels::CONTRAIL_ISA {

template <typename T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float type __attribute__((vector_size(CONTRAIL_VECTOR_BYTES)));
  typedef float unaligned
      __attribute__((vector_size(CONTRAIL_VECTOR_BYTES), aligned(4), may_alias));
  typedef int32_t bits __attribute__((vector_size(CONTRAIL_VECTOR_BYTES)));
};
template <>
struct VecOf<double> {
  typedef double type __attribute__((vector_size(CONTRAIL_VECTOR_BYTES)));
  typedef double unaligned
      __attribute__((vector_size(CONTRAIL_VECTOR_BYTES), aligned(8), may_alias));
  typedef int64_t bits __attribute__((vector_size(CONTRAIL_VECTOR_BYTES)));
};
template <typename T>
using Vec = typename VecOf<T>::type;
template <typename T>
using Bits = typename VecOf<T>::bits;

template <typename T>
constexpr int64_t kLanes = CONTRAIL_VECTOR_BYTES / static_cast<int64_t>(sizeof(T));

#define CONTRAIL_INLINE inline __attribute__((always_inline))

template <typename T>
CONTRAIL_INLINE Vec<T> Load(const T* p) {
  return *reinterpret_cast<const typename VecOf<T>::unaligned*>(p);
}
template <typename T>
CONTRAIL_INLINE void Store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VecOf<T>::unaligned*>(p) = v;
}
template <typename T>
CONTRAIL_INLINE Vec<T> Splat(T x) {
  return x - Vec<T>{};  // x - 0 is x for every x, so this is one broadcast
}
// The first `count` lanes; the others are `fill`.
template <typename T>
CONTRAIL_INLINE Vec<T> LoadPart(const T* p, int64_t count, T fill = 0) {
#if CONTRAIL_VECTOR_BYTES == 64
  const auto mask = (1u << count) - 1u;
  if constexpr (sizeof(T) == 4) {
    return _mm512_mask_loadu_ps(Splat(fill), static_cast<__mmask16>(mask), p);
  } else {
    return _mm512_mask_loadu_pd(Splat(fill), static_cast<__mmask8>(mask), p);
  }
#else
  Vec<T> v = Splat(fill);
  for (int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
#endif
}
template <typename T>
CONTRAIL_INLINE void StorePart(T* p, Vec<T> v, int64_t count) {
#if CONTRAIL_VECTOR_BYTES == 64
  const auto mask = (1u << count) - 1u;
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), v);
  } else {
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), v);
  }
#else
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
#endif
}
template <typename T>
CONTRAIL_INLINE Vec<T> Max(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}
template <typename T>
CONTRAIL_INLINE Vec<T> Min(Vec<T> a, Vec<T> b) {
  return a < b ? a : b;
}
// Halves are folded onto each other: one order on every instruction set of the same width.
template <typename T>
CONTRAIL_INLINE T Sum(Vec<T> v) {
#if CONTRAIL_VECTOR_BYTES == 64
  if constexpr (sizeof(T) == 4) {
    return _mm512_reduce_add_ps(v);
  } else {
    return _mm512_reduce_add_pd(v);
  }
#else
  T lanes[kLanes<T>];
  Store(lanes, v);
  for (int64_t half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
#endif
}
template <typename T>
CONTRAIL_INLINE T Largest(Vec<T> v) {
#if CONTRAIL_VECTOR_BYTES == 64
  if constexpr (sizeof(T) == 4) {
    return _mm512_reduce_max_ps(v);
  } else {
    return _mm512_reduce_max_pd(v);
  }
#else
  T best = v[0];
  for (int64_t i = 1; i < kLanes<T>; ++i) best = v[i] > best ? v[i] : best;
  return best;
#endif
}
// j, j + 1, ... as floating numbers.
template <typename T>
CONTRAIL_INLINE Vec<T> Count(int64_t j) {
  Vec<T> v{};
  for (int64_t i = 0; i < kLanes<T>; ++i) v[i] = static_cast<T>(i);
  return v + static_cast<T>(j);
}

// e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2 and Taylor's polynomial for e^r: within 2
// units in the last place. Below the normal range it is exactly 0, above it the largest power. A
// NaN stays one: Max and Min give their second argument where the first is not the greater.
CONTRAIL_INLINE Vec<float> Exp(Vec<float> x) {
  constexpr float kLowest = -87.0f, kHighest = 88.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vec<float> y = Min<float>(Splat(kHighest), Max<float>(Splat(kLowest), x));
  const Vec<float> shifted = y * 1.44269504088896341f + kRound;
  const Vec<float> n = shifted - kRound;
  Vec<float> r = y - n * 0.693359375f;  // ln 2 in two parts, the first exact in few bits
  r = r + n * 2.12194440054690583e-4f;
  Vec<float> p = Splat(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Bits<float> exponent = (__builtin_convertvector(n, Bits<float>) + 127) << 23;
  p = p * reinterpret_cast<Vec<float>>(exponent);
  return x < kLowest ? Vec<float>{} : p;
}
CONTRAIL_INLINE Vec<double> Exp(Vec<double> x) {
  for (int64_t i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

// The standard normal distribution: cumulative(x) and density(x).
//
// fp32: erfc(z) = t (a1 + t (a2 + ...)) e^(-z^2), t = 1 / (1 + p z), absolute error 1.5e-7
// (Abramowitz and Stegun 7.1.26); one exponential serves both.
CONTRAIL_INLINE void Normal(Vec<float> x, Vec<float>* cumulative, Vec<float>* density) {
  const Vec<float> z = Max<float>(x, -x) * 0.70710678118654752f;
  const Vec<float> e = Exp(-z * z);
  const Vec<float> t = 1.0f / (z * 0.3275911f + 1.0f);
  Vec<float> p = Splat(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vec<float> tail = p * t * e * 0.5f;
  *cumulative = x < 0.0f ? tail : 1.0f - tail;
  *density = e * 0.39894228040143268f;
}
CONTRAIL_INLINE void Normal(Vec<double> x, Vec<double>* cumulative, Vec<double>* density) {
  for (int64_t i = 0; i < kLanes<double>; ++i) {
    (*cumulative)[i] = 0.5 * __builtin_erfc(-x[i] * 0.70710678118654752440);
    (*density)[i] = 0.39894228040143267794 * __builtin_exp(-0.5 * x[i] * x[i]);
  }
}

template <typename T>
CONTRAIL_INLINE Vec<T> Activate(Vec<T> x, bool exact_gelu) {
  if (exact_gelu) {
    Vec<T> cumulative{}, density{};
    Normal(x, &cumulative, &density);
    return x * cumulative;
  }
  return x / (Exp(x * T(-1.702)) + T(1));
}
// f'(x)
template <typename T>
CONTRAIL_INLINE Vec<T> ActivateSlope(Vec<T> x, bool exact_gelu) {
  if (exact_gelu) {
    Vec<T> cumulative{}, density{};
    Normal(x, &cumulative, &density);
    return cumulative + x * density;
  }
  const Vec<T> s = T(1) / (Exp(x * T(-1.702)) + T(1));
  return s * (x * T(1.702) * (T(1) - s) + T(1));
}

// v[i][j] <-> v[j][i] of a square of registers, in log2(lanes) rounds of two-register shuffles.
template <typename T>
CONTRAIL_INLINE void Transpose(Vec<T> (&v)[kLanes<T>]) {
  constexpr int64_t kN = kLanes<T>;
  using Lane = std::remove_reference_t<decltype(Bits<T>{}[0])>;
#pragma GCC unroll 8
  for (int64_t s = 1; s < kN; s *= 2) {
    Bits<T> low{}, high{};
    for (int64_t e = 0; e < kN; ++e) {
      low[e] = static_cast<Lane>((e & s) == 0 ? e : kN + e - s);
      high[e] = static_cast<Lane>((e & s) == 0 ? e + s : kN + e);
    }
#pragma GCC unroll 16
    for (int64_t i = 0; i < kN; ++i) {
      if ((i & s) != 0) continue;
      const Vec<T> a = v[i], b = v[i + s];
      v[i] = __builtin_shuffle(a, b, low);
      v[i + s] = __builtin_shuffle(a, b, high);
    }
  }
}

}  // namespace contrail::model::kernels::CONTRAIL_ISA
