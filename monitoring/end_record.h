#pragma once
// How a worker ended, in its own words: attempts/attempt_A/end_rank_R.json. Exit codes of mpirun
// and srun carry no truth; a rank without a record died without being able to speak.

#include <cstdint>
#include <optional>
#include <string>

#include "monitoring/run_dir.h"

namespace contrail::monitor {

struct EndRecord {
  int attempt = 0;
  int rank = 0;
  std::string host;
  int pid = 0;
  std::string outcome;     // "done" | "stopped" | "user_error" | "environment_error" | "bug"
  uint64_t step = 0;       // last finished step
  uint64_t collective = 0; // last collective entered: orders first causes before victims
  std::string error_id;    // "E-DATA-IMAGE"; empty when done or stopped
  std::string message;     // the whole line
  double time = 0;         // seconds since the Unix epoch
};

void WriteEndRecord(const RunDir& run, const EndRecord& record);
std::optional<EndRecord> ReadEndRecord(const RunDir& run, int attempt, int rank);

}  // namespace contrail::monitor
