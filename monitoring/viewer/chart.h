#pragma once
// A line chart of braille dots: two dots a column, four a row.

#include <vector>

#include "monitoring/viewer/canvas.h"
#include "monitoring/viewer/status.h"

namespace contrail::monitor {

// Draws into the rectangle at (x, y), w x h cells: value labels on the left, the first and last
// step below. Each column shows the mean of its steps, and their range where it is wider.
void DrawCurve(Canvas& canvas, int x, int y, int w, int h, const std::vector<CurveBucket>& curve,
               const std::vector<CurveBucket>& undone);

// One line of block heights, `width` columns, for the latest values.
std::string Sparkline(const std::vector<double>& values, int width);

}  // namespace contrail::monitor
