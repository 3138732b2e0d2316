#pragma once
// Telemetry records as plain structs <-> the bytes of an event file. No protobuf type leaves
// this folder (LibTorch ships another protobuf).
//
// Framing (TFRecord): u64 length, u32 masked CRC-32C of those 8 bytes, payload, u32 masked CRC-32C
// of the payload; little endian. The payload is one Event of telemetry.proto.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "monitoring/recorder.h"

namespace contrail::monitor {

struct FileHeader {
  uint32_t format = 1;
  int attempt = 0;
  int node = 0;
  uint64_t resumed_step = 0;
  uint64_t total_steps = 0;        // 0 = not known
  uint64_t samples_per_epoch = 0;  // 0 = not known
  std::string config_toml;
  bool continued = false;  // a later file of the same attempt, after a failed write
  std::vector<int> ranks;  // whose times the records hold; empty: all, in rank order
};

struct Health {
  uint64_t dropped = 0;  // records lost so far by the writer
  bool closed = false;   // the file ends here, in good order
};

struct ScalarPoint {
  std::string_view tag;
  float value = 0;
};

// One record. `file_version`, `start`, `scalars` and `text` are what TensorBoard reads; the
// optionals are ours.
struct TelemetryEvent {
  double wall_time = 0;
  uint64_t step = 0;
  std::string file_version;          // "brain.Event:2" in a file's first record
  bool start = false;                // SessionLog START: points from `step` on are purged
  std::vector<ScalarPoint> scalars;  // written only; DecodeEvent leaves it empty
  std::string text_tag, text;        // Markdown for the text plugin; written only
  std::optional<FileHeader> header;
  std::optional<StepRecord> step_record;
  std::optional<CheckpointRecord> checkpoint;
  std::optional<Health> health;
};

// The payload, without framing.
std::string EncodeEvent(const TelemetryEvent& event);
// nullopt where the bytes are no Event. Unknown fields are skipped.
std::optional<TelemetryEvent> DecodeEvent(std::string_view payload);

void AppendFrame(std::string& out, std::string_view payload);

enum class Tail {
  kClean,    // the bytes end with a whole record
  kTorn,     // the last record is not (yet) whole: read again later from `consumed`
  kCorrupt,  // a record before the end fails its checksum: nothing after it can be trusted
};

struct FrameScan {
  std::vector<std::string_view> payloads;  // into the bytes given
  uint64_t consumed = 0;                   // bytes of whole, good records
  Tail tail = Tail::kClean;
};

// Splits bytes that start at a record boundary. A record that fails its checksum counts as torn
// where it is the last thing in the file or only zeros follow (pages not yet written by a network
// file system), as corrupt otherwise; resynchronisation is not attempted.
FrameScan ScanFrames(std::string_view bytes);

}  // namespace contrail::monitor
