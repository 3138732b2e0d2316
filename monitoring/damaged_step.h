#pragma once
// attempts/attempt_A/damaged_steps.jsonl: checkpoints that an attempt could not do with as it
// should, in two kinds. Going back to an older checkpoint loses work, and one that does not go
// fills the disk some day, so neither is silent. Written by rank 0, read by the launcher, which
// makes incidents of them.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

inline constexpr const char* kPassedOver = "checkpoint_damaged";  // a resume passed it over
inline constexpr const char* kStays = "checkpoint_stays";         // pruning could not remove it

struct DamagedStep {
  uint64_t step = 0;  // its own; of one that stays, the step that was committed last
  std::string dir;    // of the checkpoint; "" where the line alone names it
  std::string why;    // the whole line
  double time = 0;    // Unix seconds
  std::string cause = kPassedOver;
};

// One line, fsynced. Makes the attempt's directory where needed.
void AppendDamagedStep(const RunDir& run, int attempt, const DamagedStep& step,
                       FileSystem& fs = PosixFileSystem());
// In file order; lines that do not parse (a torn last one) are skipped.
std::vector<DamagedStep> ReadDamagedSteps(const RunDir& run, int attempt,
                                          const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
