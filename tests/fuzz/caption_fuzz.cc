// Captions: whatever the bytes, what comes out is UTF-8 without line breaks or double spaces.
#include "data/text_clean.h"
#include "data/utf8.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string clean = data::CleanCaption(fuzz::Text(data, size));
  std::string again;
  for (size_t at = 0; at < clean.size();) data::AppendUtf8(data::NextUtf8(clean, at), again);
  fuzz::Require(again == clean, "a clean caption is UTF-8");
  fuzz::Require(clean.find('\n') == std::string::npos && clean.find("  ") == std::string::npos,
                "white space is single");
  return 0;
}
