#include "monitoring/store/tail_reader.h"

#include <algorithm>

#include "common/error.h"

namespace contrail::monitor {
namespace {

constexpr uint64_t kChunk = 8 << 20;

}  // namespace

std::vector<TelemetryEvent> TailReader::Next() {
  std::vector<TelemetryEvent> events;
  problem_.clear();
  torn_bytes_ = 0;
  try {
    const uint64_t size = fs_->FileSize(path_);
    if (size < offset_) problem_ = "shorter than before: replaced or cut";
    uint64_t chunk = kChunk;
    std::string bytes;
    while (offset_ < size) {
      bytes.resize(std::min(chunk, size - offset_));
      fs_->PRead(path_, bytes.data(), bytes.size(), offset_);
      const FrameScan scan = ScanFrames(bytes);
      for (const std::string_view payload : scan.payloads) {
        if (auto event = DecodeEvent(payload)) {
          events.push_back(std::move(*event));
        } else {
          problem_ = "a record is no telemetry event; skipped";
        }
      }
      offset_ += scan.consumed;
      if (scan.tail == Tail::kCorrupt) {
        problem_ = "bad checksum at byte " + std::to_string(offset_);
        break;
      }
      if (scan.tail == Tail::kTorn && offset_ + bytes.size() - scan.consumed == size) {
        torn_bytes_ = size - offset_;
        break;
      }
      chunk = scan.consumed == 0 ? chunk * 2 : kChunk;  // a record larger than the chunk
    }
  } catch (const Error& error) {
    problem_ = error.what();  // unreadable now, perhaps not later
  }
  return events;
}

}  // namespace contrail::monitor
