#pragma once
// Follows one telemetry file: each call gives the records appended since the last one.

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/wire/codec.h"

namespace contrail::monitor {

class TailReader {
 public:
  TailReader(std::string path, const FileSystem& fs) : path_(std::move(path)), fs_(&fs) {}

  // New whole records. A torn tail is read again next time; so is a corrupt record (a network
  // file system may show a page late), and nothing after it is believed meanwhile.
  std::vector<TelemetryEvent> Next();

  uint64_t offset() const { return offset_; }  // bytes of good records so far
  // What is wrong with the file at `offset()`, for people; "" where nothing is. A torn tail is
  // not a problem: its writer may be about to finish it.
  const std::string& problem() const { return problem_; }
  uint64_t torn_bytes() const { return torn_bytes_; }

 private:
  std::string path_;
  const FileSystem* fs_;
  uint64_t offset_ = 0;
  uint64_t torn_bytes_ = 0;
  std::string problem_;
};

}  // namespace contrail::monitor
