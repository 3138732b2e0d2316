#include "data/transform.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "common/error.h"
#include "common/strings.h"
#include "data/resize.h"

namespace contrail::data {
namespace {

struct Size {
  int64_t width;
  int64_t height;
};

// torchvision's Resize(int): the shortest edge becomes `edge`, the other one is truncated.
Size ShortestEdgeTo(const Image& image, int edge) {
  const auto longer = [&](int shorter, int other) { return int64_t{edge} * other / shorter; };
  if (image.width <= image.height) return {edge, longer(image.width, image.height)};
  return {longer(image.height, image.width), edge};
}

// torchvision's round() is Python's: halves go to the even number.
int64_t HalfOf(int64_t length) {
  return static_cast<int64_t>(std::nearbyint(static_cast<double>(length) / 2.0));
}

// torchvision's RandomResizedCrop.get_params: ten tries, then the centre box of the nearest ratio.
Image RandomResized(const Image& image, int edge, double scale_min, RandomStream& draws) {
  constexpr double kRatioMin = 3.0 / 4.0;
  constexpr double kRatioMax = 4.0 / 3.0;
  const double area = static_cast<double>(image.width) * image.height;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * (scale_min + (1.0 - scale_min) * draws.NextUniform());
    const double low = std::log(kRatioMin);
    const double ratio = std::exp(low + (std::log(kRatioMax) - low) * draws.NextUniform());
    const int w = static_cast<int>(std::nearbyint(std::sqrt(target * ratio)));
    const int h = static_cast<int>(std::nearbyint(std::sqrt(target / ratio)));
    if (w <= 0 || w > image.width || h <= 0 || h > image.height) continue;
    const int top = static_cast<int>(draws.NextBelow(static_cast<uint64_t>(image.height - h + 1)));
    const int left = static_cast<int>(draws.NextBelow(static_cast<uint64_t>(image.width - w + 1)));
    return ResizeBicubic(image, left, top, w, h, edge, edge);
  }
  int w = image.width;
  int h = image.height;
  const double ratio = static_cast<double>(w) / h;
  if (ratio < kRatioMin) h = static_cast<int>(std::nearbyint(w / kRatioMin));
  if (ratio > kRatioMax) w = static_cast<int>(std::nearbyint(h * kRatioMax));
  return ResizeBicubic(image, (image.width - w) / 2, (image.height - h) / 2, w, h, edge, edge);
}

}  // namespace

CropKind ParseCrop(std::string_view name) {
  if (name == "center") return CropKind::kCenter;
  if (name == "random-square") return CropKind::kRandomSquare;
  if (name == "random-resized") return CropKind::kRandomResized;
  const std::string hint = DidYouMean(name, {"center", "random-square", "random-resized"});
  throw UserError("E-DATA-CROP", "data.crop", "unknown crop '" + std::string(name) + "'",
                  hint.empty() ? "use center, random-square or random-resized" : hint);
}

Image Transform(const Image& image, CropKind crop, int resolution, double scale_min,
                RandomStream& draws) {
  if (crop == CropKind::kRandomResized) return RandomResized(image, resolution, scale_min, draws);
  const Size size = ShortestEdgeTo(image, resolution);
  const int64_t spare_x = size.width - resolution;
  const int64_t spare_y = size.height - resolution;
  if (crop == CropKind::kCenter) {
    return ResizeBicubicPart(image, size.width, size.height, HalfOf(spare_x), HalfOf(spare_y),
                             resolution);
  }
  // Both draws always happen, so that a picture's shape never shifts the stream.
  const auto left = static_cast<int64_t>(draws.NextBelow(static_cast<uint64_t>(spare_x) + 1));
  const auto top = static_cast<int64_t>(draws.NextBelow(static_cast<uint64_t>(spare_y) + 1));
  return ResizeBicubicPart(image, size.width, size.height, left, top, resolution);
}

void ToPlanar(const Image& image, uint8_t* out) {
  const size_t plane = static_cast<size_t>(image.width) * image.height;
  const uint8_t* in = image.pixels.data();
  for (size_t i = 0; i < plane; ++i, in += 3) {
    out[i] = in[0];
    out[plane + i] = in[1];
    out[2 * plane + i] = in[2];
  }
}

}  // namespace contrail::data
