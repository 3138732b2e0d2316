#include "monitoring/viewer/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

namespace contrail::monitor {
namespace {

constexpr int kLabel = 7;  // columns of the value axis

std::string Label(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%*.*g", kLabel - 1, 4, value);
  return text;
}

struct Axis {
  uint64_t first = 0, last = 0;
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
};

// A field of dots over w x h cells. Later drawing wins the cell's colour.
class Dots {
 public:
  Dots(Canvas& canvas, int x, int y, int w, int h) : canvas_(canvas), x_(x), y_(y), w_(w), h_(h) {}

  int width() const { return 2 * w_; }
  int height() const { return 4 * h_; }

  void Set(int dx, int dy, Style style) {
    if (dx < 0 || dy < 0 || dx >= width() || dy >= height()) return;
    static constexpr int kBits[4][2] = {{0, 3}, {1, 4}, {2, 5}, {6, 7}};
    const int cx = x_ + dx / 2;
    const int cy = y_ + dy / 4;
    char32_t cell = canvas_.At(cx, cy);
    if (cell < U'\u2800' || cell > U'\u28ff') cell = U'\u2800';
    canvas_.Put(cx, cy, cell | (1u << kBits[dy % 4][dx % 2]), style);
  }

  void Vertical(int dx, int from, int to, Style style) {
    for (int dy = std::min(from, to); dy <= std::max(from, to); ++dy) Set(dx, dy, style);
  }

  // Without gaps: each column is joined to the one before.
  void Line(int x0, int y0, int x1, int y1, Style style) {
    int last = y0;
    for (int dx = x0; dx <= x1; ++dx) {
      const double share = x1 == x0 ? 1 : static_cast<double>(dx - x0) / (x1 - x0);
      const auto at = static_cast<int>(std::lround(y0 + share * (y1 - y0)));
      Vertical(dx, at == last ? at : last + (at > last ? 1 : -1), at, style);
      last = at;
    }
  }

 private:
  Canvas& canvas_;
  int x_, y_, w_, h_;
};

void Draw(Dots& dots, const Axis& axis, const std::vector<CurveBucket>& curve, Style style) {
  const double steps = std::max<double>(1, static_cast<double>(axis.last - axis.first));
  const auto row = [&](double value) {
    const double share = (axis.high - value) / (axis.high - axis.low);
    return static_cast<int>(std::lround(share * (dots.height() - 1)));
  };
  int last_column = -1;
  int last_row = 0;
  for (const CurveBucket& bucket : curve) {
    const double share = static_cast<double>(bucket.step - axis.first) / steps;
    const auto column = static_cast<int>(std::lround(share * (dots.width() - 1)));
    const int at = row(bucket.mean);
    dots.Vertical(column, row(std::max(bucket.max, bucket.mean)), row(bucket.min), style);
    if (last_column >= 0) dots.Line(last_column, last_row, column, at, style);
    last_column = column;
    last_row = at;
  }
}

}  // namespace

void DrawCurve(Canvas& canvas, int x, int y, int w, int h, const std::vector<CurveBucket>& curve,
               const std::vector<CurveBucket>& undone) {
  if (curve.empty() || w <= kLabel + 4 || h < 2) return;
  Axis axis{.first = curve.front().step, .last = curve.back().step};
  for (const auto* line : {&curve, &undone}) {
    for (const CurveBucket& bucket : *line) {
      axis.last = std::max(axis.last, bucket.step);
      axis.low = std::min(axis.low, bucket.min);
      axis.high = std::max(axis.high, bucket.max);
    }
  }
  if (axis.high - axis.low < 1e-12) {
    axis.high += 0.5;
    axis.low -= 0.5;
  }
  const int plot = h - 1;  // the last line is the step axis
  canvas.Text(x, y, Label(axis.high), Style::kDim);
  if (plot > 2) canvas.Text(x, y + plot / 2, Label((axis.high + axis.low) / 2), Style::kDim);
  canvas.Text(x, y + plot - 1, Label(axis.low), Style::kDim);
  Dots dots(canvas, x + kLabel, y, w - kLabel, plot);
  Draw(dots, axis, undone, Style::kUndone);
  Draw(dots, axis, curve, Style::kCurve);
  canvas.Text(x + kLabel, y + plot, "step " + std::to_string(axis.first), Style::kDim);
  canvas.TextRight(x + w, y + plot, std::to_string(axis.last), Style::kDim);
}

std::string Sparkline(const std::vector<double>& values, int width) {
  static const char* const kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (values.empty() || width <= 0) return "";
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  const auto columns = std::min(static_cast<size_t>(width), values.size());
  std::string line;
  for (size_t column = 0; column < columns; ++column) {
    const double value = values[(column + 1) * values.size() / columns - 1];
    if (!std::isfinite(value)) {
      line += "×";
      continue;
    }
    const double share = high > low ? (value - low) / (high - low) : 0;
    line += kBlocks[std::min<size_t>(7, static_cast<size_t>(share * 8))];
  }
  return line;
}

}  // namespace contrail::monitor
