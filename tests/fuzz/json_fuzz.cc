// The run directory's JSON, half written or by another version: read with what is missing left out.
#include "model/files/strict_json.h"
#include "monitoring/end_record.h"
#include "monitoring/incident.h"
#include "monitoring/run_files.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/one_file.h"

using namespace contrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(fuzz::Text(data, size));
  const OneFile fs(text);
  const monitor::RunDir run{"/run"};
  if (const auto record = monitor::ParseEndRecord(text)) monitor::EndRecordText(*record);
  monitor::ReadIncidents(run, fs);
  monitor::ReadSummary(run, fs);
  try {
    monitor::ReadLease(run, fs);
  } catch (const Error& error) {
    fuzz::Require(error.id() == "E-LEASE", "what is no lease is called that");
  }
  fuzz::ReadOrRefuse([&] { model::files::ParseStrictJson(text, "E-WEIGHTS-CONFIG", "a.json"); });
  return 0;
}
