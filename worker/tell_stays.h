#pragma once
// Checkpoints that pruning could not remove, told where people look.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "worker/fence.h"

namespace contrail::worker {

// On the root: each line goes to the log, and once in an attempt to the launcher, which shows it
// and keeps it as an incident (monitoring/damaged_step.h). `step`: committed last. Throws nothing.
void TellStays(FileSystem& fs, const Writer& writer, uint64_t step,
               const std::vector<std::string>& problems);

}  // namespace contrail::worker
