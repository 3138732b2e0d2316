#pragma once
// attempts/attempt_A/first_commit.json: the first step that an attempt committed. Evidence that the
// run once had checkpoints, kept apart from them: should all of RUN/checkpoints be gone (a mount
// that is missing, a cleaned scratch disk), the run must not begin again from nothing by itself.

#include <cstdint>
#include <optional>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

// Once an attempt; makes its directory where needed.
void WriteFirstCommit(const RunDir& run, int attempt, uint64_t step,
                      FileSystem& fs = PosixFileSystem());
// An attempt that committed something; nullopt where none did. Throws E-IO.
std::optional<int> AttemptThatCommitted(const RunDir& run,
                                        const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
