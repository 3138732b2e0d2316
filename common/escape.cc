#include "common/escape.h"

#include <cstdint>

namespace contrail {
namespace {

// Bytes of the well-formed character that `text` begins with, 0 where there is none; its number.
size_t CharacterAt(std::string_view text, uint32_t* value) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  *value = lead;
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || length > text.size()) return 0;
  *value = lead & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    *value = *value << 6 | (byte(i) & 0x3fu);
  }
  const bool overlong = (length == 3 && *value < 0x800) || (length == 4 && *value < 0x10000);
  const bool surrogate = *value >= 0xd800 && *value < 0xe000;
  return overlong || surrogate || *value > 0x10ffff ? 0 : length;
}

void AppendEscaped(std::string_view bytes, std::string* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (const char c : bytes) {
    const auto value = static_cast<unsigned char>(c);
    *out += "\\x";
    *out += kDigits[value >> 4];
    *out += kDigits[value & 15];
  }
}

}  // namespace

bool IsObeyed(char32_t character) {
  const auto in = [character](char32_t first, char32_t last) {
    return character >= first && character <= last;
  };
  return in(0, 0x1f) || in(0x7f, 0x9f) || character == 0x61c || in(0x200e, 0x200f) ||
         in(0x2028, 0x202e) || in(0x2066, 0x2069);
}

std::string Escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    uint32_t character = 0;
    const size_t length = CharacterAt(text, &character);
    const std::string_view bytes = text.substr(0, length == 0 ? 1 : length);
    if (length == 0 || IsObeyed(character)) {
      AppendEscaped(bytes, &out);
    } else {
      out += bytes;
    }
    text.remove_prefix(bytes.size());
  }
  return out;
}

std::string EscapeShort(std::string_view text, size_t limit) {
  if (text.size() <= limit) return Escape(text);
  // Cut where characters begin, so that none is taken for damaged bytes.
  const auto inside = [&](size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
  };
  size_t head = limit * 2 / 3, tail = text.size() - limit / 3;
  for (int i = 0; i < 3 && inside(head); ++i) --head;
  for (int i = 0; i < 3 && inside(tail); ++i) ++tail;
  return Escape(text.substr(0, head)) + "..." + Escape(text.substr(tail));
}

bool IsUtf8(std::string_view text) {
  uint32_t character = 0;
  while (!text.empty()) {
    const size_t length = CharacterAt(text, &character);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace contrail
