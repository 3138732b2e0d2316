#pragma once
// attempts/attempt_A/bad_steps.jsonl: steps whose loss or gradient norm was NaN or infinite and
// which were skipped. Written by rank 0, read by the launcher, which makes incidents of them.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

struct BadStep {
  uint64_t step = 0;  // counted from 1
  std::string what;   // "loss" | "gradient norm"
  double value = 0;   // NaN or infinite
  uint64_t epoch = 0;
  uint64_t position = 0;             // of the batch's first sample in the epoch's order
  int rank = -1;                     // where only one rank's part was broken
  std::string host;                  // of that rank
  std::vector<std::string> samples;  // keys of samples with broken features, the first few
  std::string detail;                // one line for people
  double time = 0;                   // Unix seconds
};

// One line, fsynced.
void AppendBadStep(const RunDir& run, int attempt, const BadStep& step,
                   FileSystem& fs = PosixFileSystem());
// In file order; lines that do not parse (a torn last one) are skipped.
std::vector<BadStep> ReadBadSteps(const RunDir& run, int attempt,
                                  const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
