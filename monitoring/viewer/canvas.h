#pragma once
// A rectangle of character cells to draw on; text comes out, with or without colours. Pure.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace contrail::monitor {

// Colours carry one meaning each and differ for colour-blind people: blue good, orange bad.
enum class Style : uint8_t { kPlain, kDim, kBold, kTitle, kGood, kWarn, kBad, kCurve, kUndone };

class Canvas {
 public:
  Canvas(int width, int height);
  int width() const { return width_; }
  int height() const { return height_; }

  // UTF-8, every character one column wide; what does not fit is cut. Returns the column after it.
  int Text(int x, int y, std::string_view utf8, Style style = Style::kPlain);
  // Ends at column `right` (exclusive).
  void TextRight(int right, int y, std::string_view utf8, Style style = Style::kPlain);
  void Put(int x, int y, char32_t character, Style style = Style::kPlain);
  char32_t At(int x, int y) const;

  // Lines joined by '\n', without trailing blanks; SGR escapes only with `color`.
  std::string ToString(bool color) const;

 private:
  struct Cell {
    char32_t character = U' ';
    Style style = Style::kPlain;
  };
  int width_, height_;
  std::vector<Cell> cells_;
};

// Columns of a UTF-8 text (its characters).
int Columns(std::string_view utf8);

// A bar of `width` columns, filled to `share` in eighths of a column.
void DrawBar(Canvas& canvas, int x, int y, int width, double share, Style style);

}  // namespace contrail::monitor
