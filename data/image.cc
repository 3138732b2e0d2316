#include "data/image.h"

#include <stdexcept>

#include "common/error.h"

namespace contrail::data {

Image DecodeImage(std::string_view bytes, std::string_view where) {
  constexpr std::string_view kJpegMagic = "\xff\xd8\xff";
  constexpr std::string_view kPngMagic = "\x89PNG\r\n\x1a\n";
  try {
    if (bytes.empty()) throw std::runtime_error("the file is empty");
    if (bytes.starts_with(kJpegMagic)) return DecodeJpeg(bytes);
    if (bytes.starts_with(kPngMagic)) return DecodePng(bytes);
    throw std::runtime_error("neither a JPEG nor a PNG");
  } catch (const std::runtime_error& cause) {
    throw UserError("E-DATA-IMAGE", where, std::string("undecodable image: ") + cause.what(),
                    "repair or remove the sample; `contrail data check` lists all such samples");
  }
}

}  // namespace contrail::data
