#include "data/resize.h"

#include <algorithm>
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

// For each output pixel along one axis: the first input pixel and its weights.
struct Weights {
  int taps = 0;  // room per output pixel
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int32_t> weight;  // [out, taps], fixed point
};

Weights MakeWeights(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kSupport * filter_scale;
  Weights w;
  w.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  w.weight.assign(static_cast<size_t>(out) * w.taps, 0);
  std::vector<double> row(static_cast<size_t>(w.taps));
  for (int o = 0; o < out; ++o) {
    const double center = (o + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int last = std::min(in, static_cast<int>(center + support + 0.5));
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
  }
  return w;
}

uint8_t Clip(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255)); }

constexpr int32_t kHalf = 1 << (kFractionBits - 1);

Image Blank(int width, int height) {
  Image image;
  image.width = width;
  image.height = height;
  image.pixels.resize(static_cast<size_t>(width) * height * 3);
  return image;
}

Image Horizontal(const uint8_t* in, size_t in_stride, int in_width, int height, int width) {
  const Weights w = MakeWeights(in_width, width);
  Image out = Blank(width, height);
  for (int y = 0; y < height; ++y, in += in_stride) {
    uint8_t* to = out.row(y);
    for (int x = 0; x < width; ++x, to += 3) {
      const uint8_t* from = in + static_cast<size_t>(w.first[static_cast<size_t>(x)]) * 3;
      const int32_t* weight = w.weight.data() + static_cast<size_t>(x) * w.taps;
      const int count = w.count[static_cast<size_t>(x)];
      int32_t r = kHalf;
      int32_t g = kHalf;
      int32_t b = kHalf;
      for (int t = 0; t < count; ++t, from += 3) {
        r += from[0] * weight[t];
        g += from[1] * weight[t];
        b += from[2] * weight[t];
      }
      to[0] = Clip(r);
      to[1] = Clip(g);
      to[2] = Clip(b);
    }
  }
  return out;
}

// Whole rows at a time: the inner loop runs along memory and vectorises.
Image Vertical(const uint8_t* in, size_t in_stride, int in_height, int width, int height) {
  const Weights w = MakeWeights(in_height, height);
  Image out = Blank(width, height);
  const size_t row_bytes = static_cast<size_t>(width) * 3;
  std::vector<int32_t> sum(row_bytes);
  for (int y = 0; y < height; ++y) {
    std::fill(sum.begin(), sum.end(), kHalf);
    const int32_t* weight = w.weight.data() + static_cast<size_t>(y) * w.taps;
    const uint8_t* from = in + static_cast<size_t>(w.first[static_cast<size_t>(y)]) * in_stride;
    for (int t = 0; t < w.count[static_cast<size_t>(y)]; ++t, from += in_stride) {
      const int32_t factor = weight[t];
      for (size_t i = 0; i < row_bytes; ++i) sum[i] += from[i] * factor;
    }
    uint8_t* to = out.row(y);
    for (size_t i = 0; i < row_bytes; ++i) to[i] = Clip(sum[i]);
  }
  return out;
}

}  // namespace

Image Crop(const Image& image, int left, int top, int width, int height) {
  CONTRAIL_ASSERT(left >= 0 && top >= 0 && left + width <= image.width &&
                  top + height <= image.height);
  Image out = Blank(width, height);
  for (int y = 0; y < height; ++y) {
    std::memcpy(out.row(y), image.row(top + y) + left * 3, static_cast<size_t>(width) * 3);
  }
  return out;
}

Image ResizeBicubic(const Image& image, int left, int top, int box_width, int box_height, int width,
                    int height) {
  CONTRAIL_ASSERT(box_width > 0 && box_height > 0 && width > 0 && height > 0);
  CONTRAIL_ASSERT(left >= 0 && top >= 0 && left + box_width <= image.width &&
                  top + box_height <= image.height);
  const uint8_t* from = image.row(top) + left * 3;
  const size_t stride = static_cast<size_t>(image.width) * 3;
  if (width == box_width && height == box_height) return Crop(image, left, top, width, height);
  if (width == box_width) return Vertical(from, stride, box_height, width, height);
  if (height == box_height) return Horizontal(from, stride, box_width, height, width);
  // Rounding between the passes makes their order visible; this is Pillow 13's choice.
  const bool much_flatter = height < box_height && box_height - height > 2 * (box_width - width);
  if (much_flatter) {
    const Image flat = Vertical(from, stride, box_height, box_width, height);
    return Horizontal(flat.row(0), static_cast<size_t>(box_width) * 3, box_width, height, width);
  }
  const Image narrow = Horizontal(from, stride, box_width, box_height, width);
  return Vertical(narrow.row(0), static_cast<size_t>(width) * 3, box_height, width, height);
}

Image ResizeBicubic(const Image& image, int width, int height) {
  return ResizeBicubic(image, 0, 0, image.width, image.height, width, height);
}

}  // namespace contrail::data
