#pragma once
// Times of a single rank, from the file of its node. Everything that compares ranks comes from the
// job's own file (run_store.h); these are for a closer look at one of them.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/metrics.h"
#include "monitoring/run_dir.h"
#include "monitoring/store/run_store.h"

namespace contrail::monitor {

// "phase_seconds/forward/rank_17".
struct RankSeriesName {
  size_t phase = 0;  // index into Phases()
  int rank = 0;
};
std::optional<RankSeriesName> ParseRankSeries(const std::string& name);

// The committed series of a phase on one rank; empty where no file holds that rank. Opens the files
// of all nodes, and reads those that hold the rank. `store` belongs to the same run and is fresh.
std::vector<SeriesPoint> RankSeries(const RunDir& run, const RunStore& store,
                                    const RankSeriesName& name,
                                    const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
