#pragma once
// The attempts that have a folder in attempts/ or logs/.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/file_system.h"

namespace contrail::monitor {

// "attempt_12" -> 12; nothing where the name is none of an attempt.
std::optional<int> AttemptOfName(std::string_view name);

// The numbers of the attempts in a folder, ascending.
std::vector<int> AttemptsIn(const FileSystem& fs, const std::string& folder);

}  // namespace contrail::monitor
