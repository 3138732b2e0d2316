#pragma once
// What the text files about shards have in common: fields that may hold any name, and a last line
// that tells whether all of the text is there.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace contrail::data {

// `text` with '%' and every character of `reserved` (space, newline) written %25, %20, %0A.
std::string EscapeField(std::string_view text, std::string_view reserved);
std::string UnescapeField(std::string_view text);

// 8 hexadecimal digits.
std::string CrcText(uint32_t crc);

// `body` and a line with its CRC-32C: "end <crc>\n".
std::string Sealed(std::string body);
// The body of a sealed text, which it looks into; nothing where the text is torn or altered.
std::optional<std::string_view> BodyOf(std::string_view text);

}  // namespace contrail::data
