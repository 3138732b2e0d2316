#pragma once
// Attempt numbers. Each is claimed once, by making its directory on the shared file system,
// whatever hosts try at the same time.

#include <optional>
#include <string>

#include "common/file_system.h"
#include "monitoring/run_files.h"

namespace contrail::monitor {

// The highest attempt that left traces in the run (lease, attempts/, logs/); 0 = none.
int LastAttempt(const FileSystem& fs, const RunDir& run);

// RUN/attempts/attempt_N and `owner` in it: the token, host, boot and pid of `self`. False where
// the number is taken.
bool ClaimAttempt(FileSystem& fs, const RunDir& run, int attempt, const Lease& self);
// The first free number from `attempt` on, claimed.
int ClaimFreeAttempt(FileSystem& fs, const RunDir& run, int attempt, const Lease& self);

// Who claimed an attempt, as far as a lease tells: `owner`, `host`, `boot`, `pid` and `attempt` are
// set. An attempt without an owner (one that is being claimed, or that a bare mpirun of an older
// program made) has empty texts.
Lease ClaimantOf(const FileSystem& fs, const RunDir& run, int attempt);

}  // namespace contrail::monitor
