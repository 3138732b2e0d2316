#pragma once
// Whole lines on stderr: one write(2) a line, so that lines of many ranks never interleave.

#include <functional>
#include <string>
#include <string_view>

namespace contrail {

// Tag put before every line of this process, for example "rank 3"; empty by default.
void SetLogTag(std::string_view tag);

void LogInfo(std::string_view line);
void LogWarning(std::string_view line);
void LogError(std::string_view line);

// Text as it is, on the same way to stderr.
void WriteStderr(std::string text);

// From now on everything above goes to `writer`; nullptr: to stderr itself again. The writer may be
// called by any thread, and once more by one that took it before it was replaced.
using StderrWriter = std::function<void(std::string text)>;
void SetStderrWriter(StderrWriter writer);

// True where stderr is a terminal, NO_COLOR is unset and TERM is not "dumb".
bool StderrWantsColor();

}  // namespace contrail
