#pragma once
// Attempt numbers. Each is claimed once, by making its directory on the shared file system,
// whatever hosts try at the same time.

#include <optional>
#include <string>

#include "common/file_system.h"
#include "monitoring/run_files.h"

namespace contrail::launcher {

// The highest attempt that left traces in the run (lease, attempts/, logs/); 0 = none.
int LastAttempt(const FileSystem& fs, const monitor::RunDir& run);

// RUN/attempts/attempt_N and `owner` in it: the token, host and pid of `self`. False where the
// number is taken.
bool ClaimAttempt(FileSystem& fs, const monitor::RunDir& run, int attempt,
                  const monitor::Lease& self);
// The first free number from `attempt` on, claimed.
int ClaimFreeAttempt(FileSystem& fs, const monitor::RunDir& run, int attempt,
                     const monitor::Lease& self);

// Who claimed an attempt, as far as a lease tells: `owner`, `host`, `pid` and `attempt` are set. An
// attempt without an owner (one of a bare mpirun, or one that is being claimed) has empty texts.
monitor::Lease ClaimantOf(const FileSystem& fs, const monitor::RunDir& run, int attempt);

}  // namespace contrail::launcher
