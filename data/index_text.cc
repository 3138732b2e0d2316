#include "data/index_text.h"

#include <cstdio>

#include "common/hash.h"

namespace contrail::data {
namespace {

constexpr size_t kTrailer = 4 + 8 + 1;  // "end <crc>\n"

std::string Trailer(std::string_view body) {
  return "end " + CrcText(Crc32c(0, body.data(), body.size())) + "\n";
}

}  // namespace

std::string EscapeField(std::string_view text, std::string_view reserved) {
  std::string out;
  for (const char c : text) {
    if (c != '%' && reserved.find(c) == std::string_view::npos) {
      out += c;
      continue;
    }
    char code[4];
    std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned>(c));
    out += code;
  }
  return out;
}

std::string UnescapeField(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const std::string_view code = text.substr(i + 1, 2);
      out += code == "20" ? ' ' : code == "0A" ? '\n' : '%';
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string CrcText(uint32_t crc) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", crc);
  return text;
}

std::string Sealed(std::string body) {
  body += Trailer(body);
  return body;
}

std::optional<std::string_view> BodyOf(std::string_view text) {
  if (text.size() < kTrailer) return std::nullopt;
  const std::string_view body = text.substr(0, text.size() - kTrailer);
  if (text.substr(body.size()) != Trailer(body)) return std::nullopt;
  return body;
}

}  // namespace contrail::data
