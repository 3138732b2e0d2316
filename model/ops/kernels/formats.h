// The 16-bit formats as vectors: bf16 (fp32's upper half) and fp16 (IEEE binary16). Products and
// everything else is computed in fp32; these are what memory holds. Rounding is to nearest, ties to
// even; what is too large for fp16 becomes infinite; fp16's small numbers keep their digits
// whatever the processor is told about denormals.

#if CONTRAIL_F16C && CONTRAIL_VECTOR_BYTES != 64
#include <immintrin.h>
#endif

namespace contrail::model::kernels::CONTRAIL_ISA {

typedef uint16_t Halves __attribute__((vector_size(CONTRAIL_VECTOR_BYTES / 2)));
typedef uint16_t LooseHalves
    __attribute__((vector_size(CONTRAIL_VECTOR_BYTES / 2), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(CONTRAIL_VECTOR_BYTES)));

CONTRAIL_INLINE Words AsWords(Vec<float> v) { return reinterpret_cast<Words>(v); }
CONTRAIL_INLINE Vec<float> AsFloats(Words v) { return reinterpret_cast<Vec<float>>(v); }

// The first `count` lanes; the others are zero.
CONTRAIL_INLINE Halves LoadHalves(const uint16_t* p, int64_t count) {
  if (count == kLanes<float>) return *reinterpret_cast<const LooseHalves*>(p);
#if CONTRAIL_VECTOR_BYTES == 64
  const auto mask = static_cast<__mmask16>((1u << count) - 1u);
  return reinterpret_cast<Halves>(_mm256_maskz_loadu_epi16(mask, p));
#else
  Halves v{};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
#endif
}
CONTRAIL_INLINE void StoreHalves(uint16_t* p, Halves v, int64_t count) {
  if (count == kLanes<float>) {
    *reinterpret_cast<LooseHalves*>(p) = v;
    return;
  }
#if CONTRAIL_VECTOR_BYTES == 64
  const auto mask = static_cast<__mmask16>((1u << count) - 1u);
  _mm256_mask_storeu_epi16(p, mask, reinterpret_cast<__m256i>(v));
#else
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
#endif
}

CONTRAIL_INLINE Words Select(Words mask, Words yes, Words no) {
  return (mask & yes) | (~mask & no);
}

CONTRAIL_INLINE Vec<float> WidenBFloat16(Halves h) {
  return AsFloats(__builtin_convertvector(h, Words) << 16);
}
CONTRAIL_INLINE Halves NarrowBFloat16(Vec<float> x) {
  const Words bits = AsWords(x);
  const Words rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const auto nan = static_cast<Words>((bits & 0x7fffffffu) > 0x7f800000u);
  return __builtin_convertvector(Select(nan, bits | 0x400000u, rounded) >> 16, Halves);
}

#if CONTRAIL_F16C
CONTRAIL_INLINE Vec<float> WidenHalf(Halves h) {
#if CONTRAIL_VECTOR_BYTES == 64
  return _mm512_cvtph_ps(reinterpret_cast<__m256i>(h));
#else
  return _mm256_cvtph_ps(reinterpret_cast<__m128i>(h));
#endif
}
CONTRAIL_INLINE Halves NarrowHalf(Vec<float> x) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
#if CONTRAIL_VECTOR_BYTES == 64
  return reinterpret_cast<Halves>(_mm512_cvtps_ph(x, kNearest));
#else
  return reinterpret_cast<Halves>(_mm256_cvtps_ph(x, kNearest));
#endif
}
#else
CONTRAIL_INLINE Vec<float> WidenHalf(Halves h) {
  const Words word = __builtin_convertvector(h, Words);
  const Words magnitude = word & 0x7fffu;
  const Vec<float> integer =
      __builtin_convertvector(reinterpret_cast<Bits<float>>(magnitude), Vec<float>);
  const Words small = AsWords(integer * 0x1.0p-24f);  // below 2^-14: a multiple of 2^-24
  const Words normal = (magnitude << 13) + (112u << 23);
  const Words special = (magnitude << 13) | 0x7f800000u;
  const auto is_small = static_cast<Words>(magnitude < 0x400u);
  const auto is_special = static_cast<Words>(magnitude >= 0x7c00u);
  const Words value = Select(is_small, small, Select(is_special, special, normal));
  return AsFloats(value | (word & 0x8000u) << 16);
}
CONTRAIL_INLINE Halves NarrowHalf(Vec<float> x) {
  const Words bits = AsWords(x), magnitude = bits & 0x7fffffffu;
  const Words small = AsWords(AsFloats(magnitude) + 0.5f) - 0x3f000000u;  // the adder rounds
  const Words normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  const auto is_small = static_cast<Words>(magnitude < (113u << 23));
  const auto is_large = static_cast<Words>(magnitude >= 0x477ff000u);  // 65520
  const auto is_nan = static_cast<Words>(magnitude > 0x7f800000u);
  const Words finite = Select(is_small, small, normal);
  const Words value =
      Select(is_large, Select(is_nan, Words{} + 0x7e00u, Words{} + 0x7c00u), finite);
  return __builtin_convertvector(value | ((bits >> 16) & 0x8000u), Halves);
}
#endif

CONTRAIL_INLINE Vec<float> Widen(Format format, Halves h) {
  return format == Format::kHalf ? WidenHalf(h) : WidenBFloat16(h);
}
CONTRAIL_INLINE Halves Narrow(Format format, Vec<float> x) {
  return format == Format::kHalf ? NarrowHalf(x) : NarrowBFloat16(x);
}

// The same by the type of memory, for who is compiled for each.
CONTRAIL_INLINE Vec<float> Read(const BFloat16* p, int64_t lanes) {
  return WidenBFloat16(LoadHalves(&p->bits, lanes));
}
CONTRAIL_INLINE Vec<float> Read(const Half* p, int64_t lanes) {
  return WidenHalf(LoadHalves(&p->bits, lanes));
}
CONTRAIL_INLINE void Write(BFloat16* p, Vec<float> v, int64_t lanes) {
  StoreHalves(&p->bits, NarrowBFloat16(v), lanes);
}
CONTRAIL_INLINE void Write(Half* p, Vec<float> v, int64_t lanes) {
  StoreHalves(&p->bits, NarrowHalf(v), lanes);
}

// Element `i` on of a row in any format, and what the format makes of a vector.
CONTRAIL_INLINE Vec<float> ReadAs(Format format, const void* p, int64_t i, int64_t lanes) {
  if (format == Format::kFloat) return Read(static_cast<const float*>(p) + i, lanes);
  return Widen(format, LoadHalves(static_cast<const uint16_t*>(p) + i, lanes));
}
CONTRAIL_INLINE void WriteAs(Format format, void* p, int64_t i, Vec<float> v, int64_t lanes) {
  if (format == Format::kFloat) {
    Write(static_cast<float*>(p) + i, v, lanes);
  } else {
    StoreHalves(static_cast<uint16_t*>(p) + i, Narrow(format, v), lanes);
  }
}

inline void WidenRow(Format format, int64_t n, const uint16_t* from, float* to) {
  EachVector<float>(n, [=](int64_t j, int64_t lanes) {
    Write(to + j, Widen(format, LoadHalves(from + j, lanes)), lanes);
  });
}
inline void NarrowRow(Format format, int64_t n, const float* from, uint16_t* to) {
  EachVector<float>(n, [=](int64_t j, int64_t lanes) {
    StoreHalves(to + j, Narrow(format, Read(from + j, lanes)), lanes);
  });
}

}  // namespace contrail::model::kernels::CONTRAIL_ISA
