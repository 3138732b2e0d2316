#include "monitoring/first_commit.h"

#include <cstdlib>
#include <string>
#include <string_view>

namespace contrail::monitor {

void WriteFirstCommit(const RunDir& run, int attempt, uint64_t step, FileSystem& fs) {
  if (fs.Exists(run.FirstCommit(attempt))) return;
  fs.MakeDirs(run.Attempt(attempt));
  fs.WriteAtomically(run.FirstCommit(attempt), "{\"step\":" + std::to_string(step) + "}\n");
}

std::optional<int> AttemptThatCommitted(const RunDir& run, const FileSystem& fs) {
  constexpr std::string_view kPrefix = "attempt_";
  for (const std::string& name : fs.List(run.root + "/attempts")) {
    if (!name.starts_with(kPrefix)) continue;
    const int attempt = std::atoi(name.c_str() + kPrefix.size());
    if (fs.Exists(run.FirstCommit(attempt))) return attempt;
  }
  return std::nullopt;
}

}  // namespace contrail::monitor
