// JPEG: decoded whole or refused.
#include <stdexcept>

#include "data/image.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

namespace {

// Large pictures are decoded as small ones are, at a thousandth of the speed.
bool IsLarge(const uint8_t* data, size_t size) {
  for (size_t i = 0; i + 8 < size; ++i) {
    const bool frame = data[i] == 0xff && data[i + 1] >= 0xc0 && data[i + 1] <= 0xcf;
    if (frame && (data[i + 5] > 1 || data[i + 7] > 1)) return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (IsLarge(data, size)) return 0;
  try {
    const data::Image image = data::DecodeJpeg(fuzz::Text(data, size));
    fuzz::Require(image.width > 0 && image.height > 0 &&
                      image.pixels.size() == size_t{3} * image.width * image.height,
                  "a picture has all of its pixels");
  } catch (const std::runtime_error&) {
  }
  return 0;
}
