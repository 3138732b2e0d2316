// Telemetry: frames out of a torn file, and events out of frames.
#include "monitoring/wire/codec.h"
#include "tests/fuzz/fuzz.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = fuzz::Text(data, size);
  const monitor::FrameScan scan = monitor::ScanFrames(bytes);
  fuzz::Require(scan.consumed <= size, "no more is consumed than there is");
  for (const std::string_view payload : scan.payloads) monitor::DecodeEvent(payload);
  monitor::DecodeEvent(bytes);
  // A frame made here is read back.
  std::string framed;
  monitor::AppendFrame(framed, bytes);
  const monitor::FrameScan back = monitor::ScanFrames(framed);
  fuzz::Require(back.payloads.size() == 1 && back.payloads[0] == bytes, "a frame reads back");
  return 0;
}
