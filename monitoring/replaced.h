#pragma once
// replaced.jsonl: the places of the order whose own sample could not be used, and what is there
// instead. Written by rank 0 before the step that trained on it counts, so that what a checkpoint
// holds is always explained. A step that is trained again finds its line here and adds none.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

struct ReplacedSample {
  uint64_t step = 0;  // that trained it first, counted from 1
  uint64_t epoch = 0;
  uint64_t position = 0;  // in the epoch's order
  uint64_t sample = 0;    // whose place it is: its number in the data set
  std::string key;        // "shard.tar/000123"
  uint64_t with = 0;      // the sample that took the place
  std::string with_key;
  int tries = 0;            // samples drawn until one could be used
  bool unreadable = false;  // the disk did not give it up; else its bytes are no sample
  std::string why;          // the whole error line
  std::string data;         // fingerprint of the data set
  int attempt = 0;          // that wrote the line
  double time = 0;          // Unix seconds
};

// One line, without its end.
std::string ReplacedLine(const ReplacedSample& sample);

// All of them with one write, fsynced. A line torn by a predecessor's crash is closed first.
void AppendReplaced(const RunDir& run, const std::vector<ReplacedSample>& samples,
                    FileSystem& fs = PosixFileSystem());

// Each place once: where it has several lines, the last holds. Ascending by data set and place.
// Lines that do not parse (a torn last one) are skipped.
std::vector<ReplacedSample> ReadReplaced(const RunDir& run,
                                         const FileSystem& fs = PosixFileSystem());
std::vector<ReplacedSample> ParseReplaced(const std::string& text);

}  // namespace contrail::monitor
