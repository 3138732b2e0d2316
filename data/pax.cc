#include "data/pax.h"

#include <charconv>

namespace contrail::data {
namespace {

bool ParseNumber(std::string_view digits, uint64_t& value) {
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return code == std::errc() && !digits.empty() && end == digits.data() + digits.size();
}

bool Take(std::string_view key, std::string_view value, TarExtension& next) {
  const bool text = value.find('\0') == std::string_view::npos;
  if (key == "path") {
    next.name = value;
    return text;
  }
  if (key == "linkpath") {
    next.link = value;
    return text;
  }
  if (key == "size") {
    uint64_t size = 0;
    if (!ParseNumber(value, size)) return false;
    next.size = size;
  }
  if (key.starts_with("GNU.sparse.")) next.sparse = true;
  return true;
}

}  // namespace

bool ParsePax(std::string_view text, TarExtension& next) {
  while (!text.empty()) {
    const size_t space = text.find(' ');
    uint64_t length = 0;  // of the whole record: its digits and its newline count
    if (space == std::string_view::npos || !ParseNumber(text.substr(0, space), length))
      return false;
    if (length > text.size() || length < space + 3 || text[length - 1] != '\n') return false;
    const std::string_view record = text.substr(space + 1, length - space - 2);
    text.remove_prefix(length);
    const size_t equals = record.find('=');
    if (equals == 0 || equals == std::string_view::npos) return false;
    if (!Take(record.substr(0, equals), record.substr(equals + 1), next)) return false;
  }
  return true;
}

}  // namespace contrail::data
