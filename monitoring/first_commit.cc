#include "monitoring/first_commit.h"

#include <string>

#include "monitoring/attempts.h"

namespace contrail::monitor {

void WriteFirstCommit(const RunDir& run, int attempt, uint64_t step, FileSystem& fs) {
  if (fs.Exists(run.FirstCommit(attempt))) return;
  fs.MakeDirs(run.Attempt(attempt));
  fs.WriteAtomically(run.FirstCommit(attempt), "{\"step\":" + std::to_string(step) + "}\n");
}

std::optional<int> AttemptThatCommitted(const RunDir& run, const FileSystem& fs) {
  for (const int attempt : AttemptsIn(fs, run.root + "/attempts")) {
    if (fs.Exists(run.FirstCommit(attempt))) return attempt;
  }
  return std::nullopt;
}

}  // namespace contrail::monitor
