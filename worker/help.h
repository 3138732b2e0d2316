#pragma once
// `contrail-worker help`, `contrail-worker CMD --help`.

#include <optional>
#include <string>
#include <vector>

namespace contrail::worker {

// The text to print where `words` asks for help or for nothing, else nothing.
std::optional<std::string> Help(const std::vector<std::string>& words);

}  // namespace contrail::worker
