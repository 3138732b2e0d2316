#pragma once
// Decoded pictures and the decoders.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace contrail::data {

// RGB bytes, interleaved, rows without padding: pixels[(y * width + x) * 3 + channel].
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;

  uint8_t* row(int y) { return pixels.data() + static_cast<size_t>(y) * width * 3; }
  const uint8_t* row(int y) const { return pixels.data() + static_cast<size_t>(y) * width * 3; }
};

// Decodes a JPEG or a PNG to RGB as PIL's Image.open(...).convert("RGB") does: palettes are looked
// up, gray is repeated, 16 bits keep their high byte, alpha is dropped (not composited), CMYK is
// converted naively, EXIF orientation is ignored. A truncated file is an error, not a half-gray
// picture. Throws UserError E-DATA-IMAGE: `where` (the sample's key) and the cause.
Image DecodeImage(std::string_view bytes, std::string_view where);

// The two behind it; they throw std::runtime_error with the cause alone.
Image DecodeJpeg(std::string_view bytes);
Image DecodePng(std::string_view bytes);

// A PNG of `channels` = 1 (gray) or 3 (RGB) interleaved bytes; the same input gives the same bytes.
std::string EncodePng(const uint8_t* pixels, int width, int height, int channels);

// Larger pictures are refused before memory is asked for (PIL's decompression-bomb error limit).
inline constexpr int64_t kMaxPixels = 178'956'970;

}  // namespace contrail::data
