#include "data/image.h"

#include <stdexcept>

#include "common/error.h"
#include "common/strings.h"
#include "data/file_kind.h"

namespace contrail::data {
namespace {

Image Decode(std::string_view bytes) {
  constexpr std::string_view kJpegMagic = "\xff\xd8\xff";
  constexpr std::string_view kPngMagic = "\x89PNG\r\n\x1a\n";
  if (bytes.empty()) throw std::runtime_error("the file is empty");
  if (bytes.starts_with(kJpegMagic)) return DecodeJpeg(bytes);
  if (bytes.starts_with(kPngMagic)) return DecodePng(bytes);
  if (bytes.starts_with("RIFF") && bytes.substr(0, 12).ends_with("WEBP")) return DecodeWebp(bytes);
  const std::string_view kind = KindOfBytes(bytes.substr(0, 256));
  throw std::runtime_error("neither a JPEG nor a PNG nor a WebP" +
                           (kind.empty() ? std::string() : " but " + std::string(kind)));
}

}  // namespace

void CheckBudget(int64_t width, int64_t height, uint64_t working) {
  if (width * height > kMaxPixels) throw std::runtime_error("more than 179 million pixels");
  const uint64_t bytes = static_cast<uint64_t>(width * height) * 3 + working;
  if (bytes <= kMaxDecodeBytes) return;
  throw std::runtime_error("decoding it needs " + HumanBytes(bytes) + " of memory, more than " +
                           HumanBytes(kMaxDecodeBytes));
}

Image DecodeImage(std::string_view bytes, std::string_view where) {
  try {
    return Decode(bytes);
  } catch (const std::runtime_error& cause) {
    throw UserError("E-DATA-IMAGE", where, std::string("undecodable image: ") + cause.what(),
                    "repair or remove the sample; `contrail data check` lists all such samples");
  }
}

}  // namespace contrail::data
