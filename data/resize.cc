#include "data/resize.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "common/error.h"

namespace contrail::data {
namespace {

constexpr int kFractionBits = 32 - 8 - 2;
constexpr double kSupport = 2.0;

double Bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// What one axis is resized to, and the part of it that is wanted: [from, from + count) of `out`.
struct Axis {
  int in = 0;
  int64_t out = 0;
  int64_t from = 0;
  int count = 0;
  bool resized() const { return in != out; }
};

// For each output pixel along one axis: the first input pixel and its weights.
struct Weights {
  int taps = 0;  // room per output pixel
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int32_t> weight;  // [count, taps], fixed point
  int begin = 0;                // input pixels that any output pixel looks at
  int end = 0;
};

Weights MakeWeights(const Axis& axis) {
  const double scale = static_cast<double>(axis.in) / static_cast<double>(axis.out);
  const double filter_scale = std::max(scale, 1.0);
  const double support = kSupport * filter_scale;
  Weights w;
  w.taps = static_cast<int>(std::ceil(support)) * 2 + 2;  // even: taps are taken in pairs
  w.weight.assign(static_cast<size_t>(axis.count) * w.taps, 0);
  w.begin = axis.in;
  std::vector<double> row(static_cast<size_t>(w.taps));
  for (int o = 0; o < axis.count; ++o) {
    const double center = (static_cast<double>(axis.from + o) + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int last = std::min(axis.in, static_cast<int>(center + support + 0.5));
    const double inverse = 1.0 / filter_scale;
    double sum = 0;
    for (int x = first; x < last; ++x) {
      const double value = Bicubic((x - center + 0.5) * inverse);
      row[static_cast<size_t>(x - first)] = value;
      sum += value;
    }
    int32_t* fixed = w.weight.data() + static_cast<size_t>(o) * w.taps;
    for (int x = 0; x < last - first; ++x) {
      double value = row[static_cast<size_t>(x)];
      if (sum != 0.0) value /= sum;
      fixed[x] = static_cast<int32_t>((value < 0 ? -0.5 : 0.5) + value * (1 << kFractionBits));
    }
    w.first.push_back(first);
    w.count.push_back(last - first);
    w.begin = std::min(w.begin, first);
    w.end = std::max(w.end, last);
  }
  for (int& first : w.first) first -= w.begin;
  return w;
}

constexpr int32_t kHalf = 1 << (kFractionBits - 1);

Image Blank(int width, int height) {
  Image image;
  image.width = width;
  image.height = height;
  image.pixels.resize(static_cast<size_t>(width) * height * 3);
  return image;
}

uint8_t Clip(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255)); }

// The passes' inner loops come in two forms that give the same bytes: for any processor, and AVX2.
//
// Horizontal: one output row each from kRows input rows, which have kSpare readable bytes after
// their end. Vertical: one output row from `count` input rows.
constexpr int kRows = 4;
constexpr size_t kSpare = 8;

void HorizontalRowsAny(const uint8_t* const* in, const Weights& w, int width, uint8_t* const* out) {
  for (int r = 0; r < kRows; ++r) {
    for (int x = 0; x < width; ++x) {
      const uint8_t* from = in[r] + static_cast<size_t>(w.first[static_cast<size_t>(x)]) * 3;
      const int32_t* weight = w.weight.data() + static_cast<size_t>(x) * w.taps;
      const int count = w.count[static_cast<size_t>(x)];
      int32_t sum[3] = {kHalf, kHalf, kHalf};
      for (int t = 0; t < count; ++t, from += 3) {
        for (int c = 0; c < 3; ++c) sum[c] += from[c] * weight[t];
      }
      for (int c = 0; c < 3; ++c) out[r][x * 3 + c] = Clip(sum[c]);
    }
  }
}

inline __attribute__((always_inline)) void VerticalRow(const uint8_t* in, size_t in_stride,
                                                       const int32_t* weight, int count,
                                                       size_t row_bytes, int32_t* sum,
                                                       uint8_t* out) {
  std::fill(sum, sum + row_bytes, kHalf);
  for (int t = 0; t < count; ++t, in += in_stride) {
    const int32_t factor = weight[t];
    for (size_t i = 0; i < row_bytes; ++i) sum[i] += in[i] * factor;
  }
  for (size_t i = 0; i < row_bytes; ++i) out[i] = Clip(sum[i]);
}

void VerticalRowAny(const uint8_t* in, size_t in_stride, const int32_t* weight, int count,
                    size_t row_bytes, int32_t* sum, uint8_t* out) {
  VerticalRow(in, in_stride, weight, count, row_bytes, sum, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void VerticalRowAvx2(const uint8_t* in, size_t in_stride,
                                                     const int32_t* weight, int count,
                                                     size_t row_bytes, int32_t* sum, uint8_t* out) {
  VerticalRow(in, in_stride, weight, count, row_bytes, sum, out);
}

// Two pixels at a time, as eight lanes r g b - r g b -.
__attribute__((target("avx2"))) void HorizontalRowsAvx2(const uint8_t* const* in, const Weights& w,
                                                        int width, uint8_t* const* out) {
  const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i pair = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  for (int x = 0; x < width; ++x) {
    const size_t first = static_cast<size_t>(w.first[static_cast<size_t>(x)]) * 3;
    const int32_t* weight = w.weight.data() + static_cast<size_t>(x) * w.taps;
    const auto count = static_cast<size_t>(w.count[static_cast<size_t>(x)]);
    __m256i sum[kRows];
    for (__m256i& lanes : sum) lanes = _mm256_setzero_si256();
    for (size_t t = 0; t < count; t += 2) {  // beyond `count` the weight is 0
      const __m256i two =
          _mm256_castsi128_si256(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(weight + t)));
      const __m256i factors = _mm256_permutevar8x32_epi32(two, pair);
      for (int r = 0; r < kRows; ++r) {
        const __m128i bytes =
            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in[r] + first + t * 3));
        const __m256i lanes = _mm256_cvtepu8_epi32(_mm_shuffle_epi8(bytes, spread));
        sum[r] = _mm256_add_epi32(sum[r], _mm256_mullo_epi32(lanes, factors));
      }
    }
    for (int r = 0; r < kRows; ++r) {
      __m128i total =
          _mm_add_epi32(_mm256_castsi256_si128(sum[r]), _mm256_extracti128_si256(sum[r], 1));
      total = _mm_srai_epi32(_mm_add_epi32(total, _mm_set1_epi32(kHalf)), kFractionBits);
      total = _mm_packus_epi16(_mm_packs_epi32(total, total), total);  // clips to 0..255
      const int32_t bytes = _mm_cvtsi128_si32(total);
      std::memcpy(out[r] + x * 3, &bytes, 3);
    }
  }
}
#endif

std::atomic<bool> portable_only{false};

#if defined(__x86_64__)
bool UseAvx2() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has && !portable_only;
}
#endif

auto HorizontalKernel() {
#if defined(__x86_64__)
  if (UseAvx2()) return &HorizontalRowsAvx2;
#endif
  return &HorizontalRowsAny;
}

auto VerticalKernel() {
#if defined(__x86_64__)
  if (UseAvx2()) return &VerticalRowAvx2;
#endif
  return &VerticalRowAny;
}

// Where pixels lie: a row's first byte, and the bytes from one row to the next.
struct Pixels {
  const uint8_t* first;
  size_t stride;
  Pixels At(int64_t x, int64_t y) const {
    return {first + static_cast<size_t>(y) * stride + x * 3, stride};
  }
};

Pixels PixelsOf(const Image& image) { return {image.row(0), static_cast<size_t>(image.width) * 3}; }

Image Copy(Pixels in, int width, int height) {
  Image out = Blank(width, height);
  for (int y = 0; y < height; ++y) {
    std::memcpy(out.row(y), in.At(0, y).first, static_cast<size_t>(width) * 3);
  }
  return out;
}

// The passes take pixels from the weights' begin on.
Image Horizontal(Pixels in, const Weights& w, int height, int width) {
  const auto kernel = HorizontalKernel();
  Image out = Blank(width, height);
  const size_t row_bytes = static_cast<size_t>(w.end - w.begin) * 3;
  std::vector<uint8_t> padded(kRows * (row_bytes + kSpare));
  for (int y = 0; y < height; y += kRows) {
    const uint8_t* from[kRows];
    uint8_t* to[kRows];
    for (int r = 0; r < kRows; ++r) {
      const int row = std::min(y + r, height - 1);  // the last row fills up the last group
      uint8_t* copy = padded.data() + static_cast<size_t>(r) * (row_bytes + kSpare);
      std::memcpy(copy, in.At(0, row).first, row_bytes);
      from[r] = copy;
      to[r] = out.row(row);
    }
    kernel(from, w, width, to);
  }
  return out;
}

Image Vertical(Pixels in, const Weights& w, int width, int height) {
  const auto kernel = VerticalKernel();
  Image out = Blank(width, height);
  const size_t row_bytes = static_cast<size_t>(width) * 3;
  std::vector<int32_t> sum(row_bytes);
  for (int y = 0; y < height; ++y) {
    const auto i = static_cast<size_t>(y);
    kernel(in.At(0, w.first[i]).first, in.stride, w.weight.data() + i * w.taps, w.count[i],
           row_bytes, sum.data(), out.row(y));
  }
  return out;
}

Image Resize(Pixels in, const Axis& x, const Axis& y) {
  if (!x.resized() && !y.resized()) return Copy(in.At(x.from, y.from), x.count, y.count);
  if (!x.resized()) {
    const Weights rows = MakeWeights(y);
    return Vertical(in.At(x.from, rows.begin), rows, x.count, y.count);
  }
  const Weights columns = MakeWeights(x);
  if (!y.resized()) return Horizontal(in.At(columns.begin, y.from), columns, y.count, x.count);
  const Weights rows = MakeWeights(y);
  in = in.At(columns.begin, rows.begin);
  // Rounding between the passes makes their order visible; this is Pillow 13's choice.
  const bool much_flatter = y.out < y.in && y.in - y.out > 2 * (x.in - x.out);
  if (much_flatter) {
    const Image flat = Vertical(in, rows, columns.end - columns.begin, y.count);
    return Horizontal(PixelsOf(flat), columns, y.count, x.count);
  }
  const Image narrow = Horizontal(in, columns, rows.end - rows.begin, x.count);
  return Vertical(PixelsOf(narrow), rows, x.count, y.count);
}

}  // namespace

void ResizePortably(bool portable) { portable_only = portable; }

Image Crop(const Image& image, int left, int top, int width, int height) {
  CONTRAIL_ASSERT(left >= 0 && top >= 0 && left + width <= image.width &&
                  top + height <= image.height);
  return Copy(PixelsOf(image).At(left, top), width, height);
}

Image ResizeBicubic(const Image& image, int left, int top, int box_width, int box_height, int width,
                    int height) {
  CONTRAIL_ASSERT(box_width > 0 && box_height > 0 && width > 0 && height > 0);
  CONTRAIL_ASSERT(left >= 0 && top >= 0 && left + box_width <= image.width &&
                  top + box_height <= image.height);
  return Resize(PixelsOf(image).At(left, top), {box_width, width, 0, width},
                {box_height, height, 0, height});
}

Image ResizeBicubic(const Image& image, int width, int height) {
  return ResizeBicubic(image, 0, 0, image.width, image.height, width, height);
}

Image ResizeBicubicPart(const Image& image, int64_t width, int64_t height, int64_t left,
                        int64_t top, int edge) {
  CONTRAIL_ASSERT(edge > 0 && left >= 0 && top >= 0 && left + edge <= width &&
                  top + edge <= height);
  return Resize(PixelsOf(image), {image.width, width, left, edge},
                {image.height, height, top, edge});
}

}  // namespace contrail::data
