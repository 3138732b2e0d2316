// WebP through libwebp.

#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>
#include <stdexcept>

#include "data/image.h"

namespace contrail::data {
namespace {

const char* CauseOf(VP8StatusCode code) {
  switch (code) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return "the file is truncated";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a WebP feature that libwebp does not know";
    case VP8_STATUS_OUT_OF_MEMORY:
      return "not enough memory";
    default:
      return "not a valid WebP";
  }
}

void Require(VP8StatusCode code) {
  if (code != VP8_STATUS_OK) throw std::runtime_error(CauseOf(code));
}

// The first frame of a moving picture, on its canvas.
void DecodeFirstFrame(std::string_view bytes, Image& image) {
  WebPAnimDecoderOptions options;
  WebPAnimDecoderOptionsInit(&options);
  const WebPData data = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, void (*)(WebPAnimDecoder*)> decoder(
      WebPAnimDecoderNew(&data, &options), WebPAnimDecoderDelete);
  uint8_t* rgba = nullptr;
  int time = 0;
  if (!decoder || !WebPAnimDecoderGetNext(decoder.get(), &rgba, &time)) {
    throw std::runtime_error("not a valid moving WebP, or it is truncated");
  }
  for (size_t i = 0; i < image.pixels.size() / 3; ++i) {
    for (size_t c = 0; c < 3; ++c) image.pixels[3 * i + c] = rgba[4 * i + c];
  }
}

}  // namespace

Image DecodeWebp(std::string_view bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPDecoderConfig config;
  WebPInitDecoderConfig(&config);
  Require(WebPGetFeatures(data, bytes.size(), &config.input));
  const int64_t pixels = int64_t{config.input.width} * config.input.height;
  constexpr int kLossless = 2;
  // A moving picture is put together on two canvases of four bytes a pixel, out of a third.
  const int64_t working = config.input.has_animation         ? 12
                          : config.input.format == kLossless ? 4
                                                             : 0;
  CheckBudget(config.input.width, config.input.height, static_cast<uint64_t>(working * pixels));
  Image image;
  image.width = config.input.width;
  image.height = config.input.height;
  image.pixels.resize(static_cast<size_t>(pixels) * 3);
  if (config.input.has_animation) {
    DecodeFirstFrame(bytes, image);
    return image;
  }
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.pixels.data();
  config.output.u.RGBA.stride = image.width * 3;
  config.output.u.RGBA.size = image.pixels.size();
  Require(WebPDecode(data, bytes.size(), &config));
  return image;
}

}  // namespace contrail::data
