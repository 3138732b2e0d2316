#pragma once
// The answers that need no run: --help, help, completion, version.

#include <optional>
#include <string>
#include <vector>

namespace contrail::launcher {

// The text to print on stdout, or nothing where `words` is a command to run. Throws UserError as
// ParseArgs does.
std::optional<std::string> Help(const std::vector<std::string>& words);

}  // namespace contrail::launcher
