// PNG: decoded whole or refused.
#include <stdexcept>

#include "data/image.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Large pictures are decoded as small ones are, at a thousandth of the speed.
  constexpr size_t kHeader = 24;  // signature, IHDR up to the height
  if (size >= kHeader && (data[16] != 0 || data[17] != 0 || data[20] != 0 || data[21] != 0))
    return 0;
  try {
    const data::Image image = data::DecodePng(fuzz::Text(data, size));
    fuzz::Require(image.width > 0 && image.height > 0 &&
                      image.pixels.size() == size_t{3} * image.width * image.height,
                  "a picture has all of its pixels");
  } catch (const std::runtime_error&) {
  }
  return 0;
}
