#pragma once
// What the viewer reads from a run directory besides telemetry.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/run_dir.h"
#include "monitoring/viewer/status.h"

namespace contrail::monitor {

// Steps whose directory holds a COMMIT, ascending. Their contents are not checked here: that is
// `contrail checkpoint verify`.
std::vector<uint64_t> CommittedSteps(const RunDir& run, const FileSystem& fs);

// The newest line of replaced.jsonl: "KEY: why"; "" where there is none.
std::string LastReplaced(const RunDir& run, const FileSystem& fs);

// RUN/eval/*.json, ascending steps; files that are no JSON object (being written) are left out.
std::vector<EvalLine> ReadEvals(const RunDir& run, const FileSystem& fs);

}  // namespace contrail::monitor
