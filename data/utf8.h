#pragma once
// UTF-8 one character at a time.

#include <cstddef>
#include <string>
#include <string_view>

namespace contrail::data {

// The character at `at`, which moves past it; U+FFFD for bytes that are no UTF-8.
char32_t NextUtf8(std::string_view text, size_t& at);

void AppendUtf8(char32_t c, std::string& out);

}  // namespace contrail::data
