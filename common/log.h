#pragma once
// Whole lines on stderr: one write(2) a line, so that lines of many ranks never interleave.

#include <string_view>

namespace contrail {

// Tag put before every line of this process, for example "rank 3"; empty by default.
void SetLogTag(std::string_view tag);

void LogInfo(std::string_view line);
void LogWarning(std::string_view line);
void LogError(std::string_view line);

// True where stderr is a terminal, NO_COLOR is unset and TERM is not "dumb".
bool StderrWantsColor();

}  // namespace contrail
