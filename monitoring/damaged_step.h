#pragma once
// attempts/attempt_A/damaged_steps.jsonl: committed steps that an attempt passed over when it
// resumed, because they are damaged. Going back to an older checkpoint loses work, so it is never
// silent. Written by rank 0, read by the launcher, which makes incidents of them.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

struct DamagedStep {
  uint64_t step = 0;
  std::string dir;  // of the checkpoint
  std::string why;  // the whole line
  double time = 0;  // Unix seconds
};

// One line, fsynced. Makes the attempt's directory where needed.
void AppendDamagedStep(const RunDir& run, int attempt, const DamagedStep& step,
                       FileSystem& fs = PosixFileSystem());
// In file order; lines that do not parse (a torn last one) are skipped.
std::vector<DamagedStep> ReadDamagedSteps(const RunDir& run, int attempt,
                                          const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
