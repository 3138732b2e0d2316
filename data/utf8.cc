#include "data/utf8.h"

#include <unicode/utf8.h>

#include <cstdint>

// ICU's macros narrow int to uint8_t.
#pragma GCC diagnostic ignored "-Wconversion"

namespace contrail::data {

char32_t NextUtf8(std::string_view text, size_t& at) {
  int64_t i = static_cast<int64_t>(at);
  const auto size = static_cast<int64_t>(text.size());
  const char* bytes = text.data();
  UChar32 c;
  U8_NEXT_OR_FFFD(bytes, i, size, c);
  at = static_cast<size_t>(i);
  return static_cast<char32_t>(c);
}

void AppendUtf8(char32_t c, std::string& out) {
  char buffer[4];
  int32_t n = 0;
  U8_APPEND_UNSAFE(buffer, n, c);
  out.append(buffer, static_cast<size_t>(n));
}

}  // namespace contrail::data
