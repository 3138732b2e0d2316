#include "monitoring/attempts.h"

#include <algorithm>
#include <charconv>

namespace contrail::monitor {

std::optional<int> AttemptOfName(std::string_view name) {
  constexpr std::string_view kPrefix = "attempt_";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int attempt = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, attempt);
  if (error != std::errc() || stop != end || attempt < 1) return std::nullopt;
  return attempt;
}

std::vector<int> AttemptsIn(const FileSystem& fs, const std::string& folder) {
  std::vector<int> attempts;
  for (const std::string& name : fs.List(folder)) {
    if (const auto attempt = AttemptOfName(name)) attempts.push_back(*attempt);
  }
  std::sort(attempts.begin(), attempts.end());
  return attempts;
}

}  // namespace contrail::monitor
