#include "monitoring/viewer/canvas.h"

#include <algorithm>
#include <cmath>

#include "common/escape.h"

namespace contrail::monitor {
namespace {

const char* Sgr(Style style) {
  switch (style) {
    case Style::kPlain:
      return "\x1b[0m";
    case Style::kDim:
      return "\x1b[0;2m";
    case Style::kBold:
      return "\x1b[0;1m";
    case Style::kTitle:
      return "\x1b[0;1;38;5;75m";
    case Style::kGood:
      return "\x1b[0;38;5;75m";
    case Style::kWarn:
      return "\x1b[0;38;5;214m";
    case Style::kBad:
      return "\x1b[0;1;38;5;208m";
    case Style::kCurve:
      return "\x1b[0;38;5;80m";
    case Style::kUndone:
      return "\x1b[0;38;5;242m";
  }
  return "\x1b[0m";
}

void AppendUtf8(std::string& out, char32_t c) {
  const auto byte = [&out](char32_t value) { out += static_cast<char>(value); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xc0 | (c >> 6));
    byte(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    byte(0xe0 | (c >> 12));
    byte(0x80 | ((c >> 6) & 0x3f));
    byte(0x80 | (c & 0x3f));
  } else {
    byte(0xf0 | (c >> 18));
    byte(0x80 | ((c >> 12) & 0x3f));
    byte(0x80 | ((c >> 6) & 0x3f));
    byte(0x80 | (c & 0x3f));
  }
}

// The next character; bytes that are no UTF-8 and control characters (an escape sequence in a file
// name must not reach the terminal) become U+FFFD.
char32_t NextCharacter(std::string_view& text) {
  const auto lead = static_cast<unsigned char>(text.front());
  size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
  if (length == 0 || length > text.size()) {
    text.remove_prefix(1);
    return U'\ufffd';
  }
  char32_t value = length == 1 ? lead : lead & (0xff >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) {
      text.remove_prefix(1);
      return U'\ufffd';
    }
    value = (value << 6) | (next & 0x3f);
  }
  text.remove_prefix(length);
  return IsObeyed(value) ? U'\ufffd' : value;
}

}  // namespace

Canvas::Canvas(int width, int height)
    : width_(std::max(width, 0)),
      height_(std::max(height, 0)),
      cells_(static_cast<size_t>(width_) * static_cast<size_t>(height_)) {}

void Canvas::Put(int x, int y, char32_t character, Style style) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  cells_[static_cast<size_t>(y * width_ + x)] = {character, style};
}

char32_t Canvas::At(int x, int y) const {
  return cells_[static_cast<size_t>(y * width_ + x)].character;
}

int Canvas::Text(int x, int y, std::string_view utf8, Style style) {
  while (!utf8.empty()) Put(x++, y, NextCharacter(utf8), style);
  return x;
}

void Canvas::TextRight(int right, int y, std::string_view utf8, Style style) {
  Text(right - Columns(utf8), y, utf8, style);
}

std::string Canvas::ToString(bool color) const {
  std::string out;
  for (int y = 0; y < height_; ++y) {
    if (y > 0) out += '\n';
    const Cell* row = cells_.data() + static_cast<std::ptrdiff_t>(y) * width_;
    int end = width_;
    while (end > 0 && row[end - 1].character == U' ') --end;
    Style style = Style::kPlain;
    for (int x = 0; x < end; ++x) {
      if (color && row[x].style != style) out += Sgr(style = row[x].style);
      AppendUtf8(out, row[x].character);
    }
    if (style != Style::kPlain) out += Sgr(Style::kPlain);
  }
  return out;
}

int Columns(std::string_view utf8) {
  int columns = 0;
  while (!utf8.empty()) {
    NextCharacter(utf8);
    ++columns;
  }
  return columns;
}

void DrawBar(Canvas& canvas, int x, int y, int width, double share, Style style) {
  if (!(share > 0)) return;
  const auto eighths = static_cast<int>(std::lround(std::min(share, 1.0) * width * 8));
  for (int column = 0; column * 8 < eighths; ++column) {
    const int part = std::min(eighths - column * 8, 8);
    canvas.Put(x + column, y, U'\u2588' + static_cast<char32_t>(8 - part), style);
  }
}

}  // namespace contrail::monitor
