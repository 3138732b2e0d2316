#pragma once
// The live terminal view, as a pure function: one frame of text for a state and a size.

#include <string>

#include "monitoring/viewer/status.h"

namespace contrail::monitor {

struct FrameOptions {
  bool color = true;
  bool help = false;  // the help page instead
};

// `height` lines of at most `width` columns, joined by '\n'. Below 50 x 12 only the figures that
// matter most are shown.
std::string RenderFrame(const RunStatus& status, int width, int height,
                        const FrameOptions& options = {});

}  // namespace contrail::monitor
