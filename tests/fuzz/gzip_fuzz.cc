// Whole gzip files: never more than the limit.
#include "data/gzip.h"

#include <stdexcept>

#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kLimit = 1 << 20;
  static const fuzz::ScratchFile file("gzip");
  file.Write(fuzz::Text(data, size));
  try {
    fuzz::Require(data::ReadGzip(file.path(), kLimit).size() <= kLimit, "the limit holds");
  } catch (const std::runtime_error&) {
  }
  return 0;
}
