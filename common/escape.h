#pragma once
// Text of others (names in archives, keys, class names, hosts, another program's words) as a
// terminal or a log may show it.

#include <string>
#include <string_view>

namespace contrail {

// What a terminal would obey instead of showing it: control characters (C0, DEL, C1), marks that
// turn the direction of writing, separators of lines.
bool IsObeyed(char32_t character);

// Such characters and bytes that are no UTF-8 as \xNN, byte by byte; everything else as it is. The
// result is one line, and escaping it again changes nothing.
std::string Escape(std::string_view text);

// The same, of at most about `limit` bytes: a long text loses its middle.
std::string EscapeShort(std::string_view text, size_t limit = 200);

// Whether all of it is well-formed UTF-8.
bool IsUtf8(std::string_view text);

}  // namespace contrail
