#include "data/text_clean.h"

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "data/html_entities.h"
#include "data/utf8.h"

namespace contrail::data {
namespace {

using Text = std::u32string;

Text Decode(std::string_view utf8) {
  Text out;
  out.reserve(utf8.size());
  for (size_t at = 0; at < utf8.size();) out += NextUtf8(utf8, at);
  return out;
}

std::string Encode(const Text& text) {
  std::string out;
  for (const char32_t c : text) AppendUtf8(c, out);
  return out;
}

icu::UnicodeString ToIcu(const Text& text) {
  return icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()),
                                       static_cast<int32_t>(text.size()));
}

Text FromIcu(const icu::UnicodeString& text) {
  Text out(static_cast<size_t>(text.countChar32()), U'\0');
  UErrorCode status = U_ZERO_ERROR;
  text.toUTF32(reinterpret_cast<UChar32*>(out.data()), static_cast<int32_t>(out.size()), status);
  return out;
}

Text Normalize(const Text& text, const icu::Normalizer2* form) {
  UErrorCode status = U_ZERO_ERROR;
  return FromIcu(form->normalize(ToIcu(text), status));
}

const icu::Normalizer2* Nfc() {
  UErrorCode status = U_ZERO_ERROR;
  return icu::Normalizer2::getNFCInstance(status);
}

// Full- and half-width forms and their ordinary ones.
constexpr char32_t kWidthFirst = 0xff01;
constexpr size_t kWidthCount = 0xfff0 - 0xff01;
const std::array<Text, kWidthCount>& WidthForms() {
  static const std::array<Text, kWidthCount> table = [] {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* nfkc = icu::Normalizer2::getNFKCInstance(status);
    std::array<Text, kWidthCount> forms;
    for (size_t i = 0; i < kWidthCount; ++i) {
      forms[i] = Normalize(Text(1, kWidthFirst + static_cast<char32_t>(i)), nfkc);
    }
    return forms;
  }();
  return table;
}

struct Ligature {
  char32_t from;
  std::u32string_view to;
};
constexpr Ligature kLigatures[] = {
    {U'Ĳ', U"IJ"},  {U'ĳ', U"ij"},  {U'ŉ', U"ʼn"},      {U'Ǳ', U"DZ"}, {U'ǲ', U"Dz"}, {U'ǳ', U"dz"},
    {U'Ǆ', U"DŽ"},  {U'ǅ', U"Dž"},  {U'ǆ', U"dž"},      {U'Ǉ', U"LJ"}, {U'ǈ', U"Lj"}, {U'ǉ', U"lj"},
    {U'Ǌ', U"NJ"},  {U'ǋ', U"Nj"},  {U'ǌ', U"nj"},      {U'ﬀ', U"ff"}, {U'ﬁ', U"fi"}, {U'ﬂ', U"fl"},
    {U'ﬃ', U"ffi"}, {U'ﬄ', U"ffl"}, {U'ﬅ', U"\u017ft"}, {U'ﬆ', U"st"}};

// Windows-1252's meaning of C1 controls; the five without one stay.
constexpr char32_t kWindows1252[32] = {
    0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
    0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};

template <typename Fix>
void Rewrite(Text& text, Fix fix) {
  Text out;
  out.reserve(text.size());
  for (const char32_t c : text) fix(c, out);
  text = std::move(out);
}

void FixLigature(char32_t c, Text& out) {
  for (const Ligature& ligature : kLigatures) {
    if (ligature.from == c) {
      out += ligature.to;
      return;
    }
  }
  out += c;
}

void FixWidth(char32_t c, Text& out) {
  if (c == 0x3000) {
    out += U' ';
  } else if (c >= kWidthFirst && c < kWidthFirst + kWidthCount) {
    out += WidthForms()[c - kWidthFirst];
  } else {
    out += c;
  }
}

void FixQuote(char32_t c, Text& out) {
  if (c >= 0x201c && c <= 0x201f) {
    out += U'"';
  } else if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b)) {
    out += U'\'';
  } else {
    out += c;
  }
}

bool IsControl(char32_t c) {
  return c <= 0x08 || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f ||
         (c >= 0x206a && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

void FixLineBreaks(Text& text) {
  Text out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == U'\r' && i + 1 < text.size() && text[i + 1] == U'\n') continue;
    out += c == U'\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? U'\n' : c;
  }
  text = std::move(out);
}

bool IsAsciiLetter(char32_t c) { return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z'); }

// ESC [ digits-and-semicolons letter
void RemoveTerminalEscapes(Text& text) {
  if (text.find(U'\x1b') == Text::npos) return;
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == 0x1b && i + 1 < text.size() && text[i + 1] == U'[') {
      size_t end = i + 2;
      while (end < text.size() && ((text[end] >= U'0' && text[end] <= U'9') || text[end] == U';')) {
        ++end;
      }
      if (end < text.size() && IsAsciiLetter(text[end])) {
        i = end;
        continue;
      }
    }
    out += text[i];
  }
  text = std::move(out);
}

// ftfy.fix_and_explain without fix_encoding: one line, until nothing changes. A text escaped over
// and over loses a level a round; what nobody writes is not followed to its end.
Text FixLine(Text text, bool unescape) {
  constexpr int kMostRounds = 16;
  for (int round = 0;; ++round) {
    const Text before = text;
    if (unescape && text.find(U'&') != Text::npos) text = Decode(FtfyUnescape(Encode(text)));
    Rewrite(text, [](char32_t c, Text& out) {
      out += c >= 0x80 && c <= 0x9f ? kWindows1252[c - 0x80] : c;
    });
    Rewrite(text, FixLigature);
    Rewrite(text, FixWidth);
    Rewrite(text, FixQuote);
    FixLineBreaks(text);
    RemoveTerminalEscapes(text);
    std::erase_if(text, IsControl);
    if (std::any_of(text.begin(), text.end(), [](char32_t c) { return c >= 0x300; })) {
      text = Normalize(text, Nfc());
    }
    if (text == before || round == kMostRounds) return text;
  }
}

// ftfy.fix_text: line by line; from the first '<' on, entities are taken for real HTML and kept.
Text FixText(const Text& text) {
  Text out;
  bool unescape = true;
  for (size_t at = 0; at < text.size();) {
    const size_t newline = text.find(U'\n', at);
    const size_t end = newline == Text::npos ? text.size() : newline + 1;
    const Text line = text.substr(at, end - at);
    if (line.find(U'<') != Text::npos) unescape = false;
    out += FixLine(line, unescape);
    at = end;
  }
  return out;
}

// Python's str.isspace.
bool IsSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

Text CollapseSpace(const Text& text) {
  Text out;
  bool gap = false;
  for (const char32_t c : text) {
    if (IsSpace(c)) {
      gap = true;
      continue;
    }
    if (gap && !out.empty()) out += U' ';
    gap = false;
    out += c;
  }
  return out;
}

}  // namespace

std::string CleanCaption(std::string_view utf8) {
  Text text = FixText(Decode(utf8));
  if (text.find(U'&') != Text::npos) text = Decode(HtmlUnescape(HtmlUnescape(Encode(text))));
  std::string out;
  ToIcu(CollapseSpace(text)).toLower(icu::Locale::getRoot()).toUTF8String(out);
  return out;
}

}  // namespace contrail::data
