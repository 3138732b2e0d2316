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

// Decodes a JPEG, a PNG or a WebP (its bytes say which, not its name) to RGB as PIL's
// Image.open(...).convert("RGB") does: palettes are looked up, gray is repeated, 16 bits keep their
// high byte (16-bit gray alone is cut at 255), alpha is dropped (not composited), CMYK is taken for
// inverted and converted naively, EXIF orientation is ignored, of a moving picture the first frame
// counts. A file that ends before its pixels do is an error, not a half-gray picture. Throws
// UserError E-DATA-IMAGE: `where` (the sample's key) and the cause.
Image DecodeImage(std::string_view bytes, std::string_view where);

// The three behind it; they throw std::runtime_error with the cause alone.
Image DecodeJpeg(std::string_view bytes);
Image DecodePng(std::string_view bytes);
Image DecodeWebp(std::string_view bytes);

// Throws std::runtime_error where a picture of this size, with `working` bytes beside its pixels
// while it is decoded, is more than one sample may cost.
void CheckBudget(int64_t width, int64_t height, uint64_t working);

// A PNG of `channels` = 1 (gray) or 3 (RGB) interleaved bytes; the same input gives the same bytes.
std::string EncodePng(const uint8_t* pixels, int width, int height, int channels);

// Larger pictures are refused before memory is asked for (PIL's decompression-bomb error limit).
inline constexpr int64_t kMaxPixels = 178'956'970;
inline constexpr uint64_t kMaxDecodeBytes = uint64_t{1} << 30;  // of memory for one picture
inline constexpr uint32_t kMaxPngEdge = 1'000'000;              // libpng's own limit

}  // namespace contrail::data
