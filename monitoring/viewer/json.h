#pragma once
// `contrail view RUN --json`: one JSON value, one line. Fields: docs/run-directory.md.

#include <string>
#include <vector>

#include "monitoring/viewer/status.h"

namespace contrail::monitor {

std::string RenderJson(const RunStatus& status);

// {"step":12,"value":0.1} a line. Doubles read back bit for bit; values that JSON has no number for
// are the strings "NaN", "Infinity" and "-Infinity", as in protobuf's JSON.
std::string RenderSeries(const std::vector<SeriesPoint>& points);

}  // namespace contrail::monitor
