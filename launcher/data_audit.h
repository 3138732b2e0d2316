#pragma once
// `contrail data audit RUN`: proves from a run's own records that every step that counts took its
// places of the order once, and lists what was replaced. Needs the run directory alone.
//
// While it trains, a run adds up one number of 64 bits over all (epoch, position, sample) that its
// ranks took (data/replace.h): every checkpoint and every telemetry record holds the sum up to its
// step. The audit walks the order anew and compares. A sample that is missing, doubled or another
// than the order and replaced.jsonl say makes another sum. Steps that a later attempt trained again
// are in no sum that counts.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/replaced.h"
#include "monitoring/run_dir.h"

namespace contrail::launcher {

struct AuditedEpoch {
  std::string data;  // fingerprint of the data set
  uint64_t epoch = 0;
  uint64_t samples = 0;   // the data set has
  uint64_t places = 0;    // the steps took
  uint64_t replaced = 0;  // of these
};

struct Audit {
  uint64_t first_step = 0;  // what is judged; 0: nothing
  uint64_t last_step = 0;
  int attempts = 0;          // that trained these steps
  uint64_t samples = 0;      // these steps took
  uint64_t checkpoints = 0;  // whose sums were compared
  uint64_t records = 0;      // of telemetry, likewise
  std::vector<AuditedEpoch> epochs;
  std::vector<monitor::ReplacedSample> replaced;  // in these steps
  std::vector<std::string> problems;              // one line each; none: proven
};

// Throws E-IO, and UserError E-VIEW-RUN where `run` is none.
Audit AuditRun(const FileSystem& fs, const monitor::RunDir& run);

std::string AuditText(const Audit& audit);
std::string AuditJson(const Audit& audit);  // one line

}  // namespace contrail::launcher
