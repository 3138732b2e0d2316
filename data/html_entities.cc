#include "data/html_entities.h"

#include <unicode/locid.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "data/utf8.h"

namespace contrail::data {
namespace {

struct Named {
  std::string_view name;
  std::string_view text;
};
constexpr Named kNamed[] = {
#include "html_entities.inc"
};

using Table = std::unordered_map<std::string_view, std::string_view>;

const Table& Names() {
  static const Table table = [] {
    Table names;
    for (const Named& entity : kNamed) names[entity.name] = entity.text;
    return names;
  }();
  return table;
}

// Windows-1252's meaning of 0x80..0x9f; 0 where it has none.
constexpr uint32_t kWindows1252[32] = {
    0x20ac, 0,      0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
    0x2039, 0x152,  0,      0x17d,  0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0,      0x17e,  0x178};

bool IsForbidden(uint32_t c) {
  return (c >= 0x1 && c <= 0x8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
         (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

// The HTML standard's repairs of numeric references.
void AppendNumeric(uint32_t c, std::string& out) {
  if (c >= 0x80 && c <= 0x9f) {
    const uint32_t mapped = kWindows1252[c - 0x80];
    AppendUtf8(mapped != 0 ? mapped : c, out);
  } else if (c == 0 || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff) {
    AppendUtf8(0xfffd, out);
  } else if (!IsForbidden(c)) {
    AppendUtf8(c, out);
  }
}

int DigitValue(char c, int base) {
  int value = -1;
  if (c >= '0' && c <= '9') value = c - '0';
  if (c >= 'a' && c <= 'f') value = c - 'a' + 10;
  if (c >= 'A' && c <= 'F') value = c - 'A' + 10;
  return value < base ? value : -1;
}

// "#65;" or "#x41" at the start of `rest` (after the '&'): appends and gives the length, or 0.
size_t TakeNumeric(std::string_view rest, std::string& out) {
  if (rest.empty() || rest[0] != '#') return 0;
  size_t at = 1;
  const int base = at < rest.size() && (rest[at] == 'x' || rest[at] == 'X') ? 16 : 10;
  if (base == 16) ++at;
  const size_t first = at;
  uint64_t value = 0;
  for (; at < rest.size() && DigitValue(rest[at], base) >= 0; ++at) {
    value = std::min<uint64_t>(value * base + DigitValue(rest[at], base), 0x110000);
  }
  if (at == first) return 0;
  if (at < rest.size() && rest[at] == ';') ++at;
  AppendNumeric(static_cast<uint32_t>(value), out);
  return at;
}

// Bytes of the longest possible name: up to 32 characters, none of which ends a name.
size_t NameLength(std::string_view rest) {
  size_t at = 0;
  for (int characters = 0; at < rest.size() && characters < 32; ++characters) {
    constexpr std::string_view kEnds = "\t\n\f <&#;";
    if (kEnds.find(rest[at]) != std::string_view::npos) break;
    ++at;
    while (at < rest.size() && (rest[at] & '\xc0') == '\x80') ++at;
  }
  if (at > 0 && at < rest.size() && rest[at] == ';') ++at;
  return at;
}

size_t TakeNamed(std::string_view rest, std::string& out) {
  const std::string_view candidate = rest.substr(0, NameLength(rest));
  // The whole, then ever shorter starts of it: "&notit;" is "¬it;".
  for (size_t n = candidate.size(); n >= 2; --n) {
    const auto found = Names().find(candidate.substr(0, n));
    if (found == Names().end()) continue;
    out += found->second;
    return n;
  }
  return 0;
}

std::string AsciiMapped(std::string_view text, int (*map)(int)) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(map(static_cast<unsigned char>(c)));
  return out;
}

std::string UpperText(std::string_view text) {
  std::string out;
  icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())))
      .toUpper(icu::Locale::getRoot())
      .toUTF8String(out);
  return out;
}

// Names in capitals that HTML does not know, such as "NTILDE;".
const std::unordered_map<std::string, std::string>& CapitalNames() {
  static const std::unordered_map<std::string, std::string> table = [] {
    std::unordered_map<std::string, std::string> names;
    for (const Named& entity : kNamed) {
      if (!entity.name.ends_with(';') || AsciiMapped(entity.name, std::tolower) != entity.name) {
        continue;
      }
      const std::string capitals = AsciiMapped(entity.name, std::toupper);
      if (HtmlUnescape("&" + capitals) == "&" + capitals) names[capitals] = UpperText(entity.text);
    }
    return names;
  }();
  return table;
}

std::optional<std::string> FtfyReplacement(std::string_view reference) {
  const std::string_view body = reference.substr(1);
  if (body[0] == '#') {
    const std::string decoded = HtmlUnescape(reference);
    if (decoded.find(';') != std::string::npos) return std::nullopt;
    return decoded;
  }
  const auto named = Names().find(body);
  if (named != Names().end()) return std::string(named->second);
  const auto capital = CapitalNames().find(std::string(body));
  if (capital != CapitalNames().end()) return capital->second;
  return std::nullopt;
}

bool IsAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Bytes of "&#?[0-9A-Za-z]{1,24};" at the start of `text`, or 0.
size_t StrictLength(std::string_view text) {
  size_t at = text.size() > 1 && text[1] == '#' ? 2 : 1;
  const size_t first = at;
  while (at < text.size() && at - first < 24 && IsAlphanumeric(text[at])) ++at;
  return at > first && at < text.size() && text[at] == ';' ? at + 1 : 0;
}

}  // namespace

std::string HtmlUnescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t ampersand = text.find('&');
    out += text.substr(0, ampersand);
    if (ampersand == std::string_view::npos) break;
    text.remove_prefix(ampersand + 1);
    size_t taken = TakeNumeric(text, out);
    if (taken == 0) taken = TakeNamed(text, out);
    if (taken == 0) out += '&';
    text.remove_prefix(taken);
  }
  return out;
}

std::string FtfyUnescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t ampersand = text.find('&');
    out += text.substr(0, ampersand);
    if (ampersand == std::string_view::npos) break;
    text.remove_prefix(ampersand);
    const size_t length = StrictLength(text);
    const std::optional<std::string> replacement =
        length > 0 ? FtfyReplacement(text.substr(0, length)) : std::nullopt;
    out += replacement ? *replacement : std::string(text.substr(0, std::max<size_t>(length, 1)));
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace contrail::data
