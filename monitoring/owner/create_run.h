#pragma once
// The making of a run directory.

#include "common/error.h"
#include "common/file_system.h"
#include "configs/config.h"
#include "monitoring/owner/take_over.h"

namespace contrail::monitor {

// Makes the run directory under another name, with its config.toml, the lease `self` and attempt 1
// claimed, locks it and renames it: two launchers never share one, and a half-made one is never
// seen. Throws UserError E-RUN-EXISTS.
RunClaim CreateRun(FileSystem& fs, const RunDir& given, const Config& config, Lease self);

// E-RUN-EXISTS with what to do instead.
Error RunExists(const RunDir& run);

}  // namespace contrail::monitor
