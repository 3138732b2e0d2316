#pragma once
// data_consent.json: which command line agreed last that the run goes on with other shards, and
// with which. Written by rank 0 of the ranks that command line started.

#include <optional>
#include <string>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

struct DataConsent {
  std::string id;           // of the command line: a consent is used once
  std::string fingerprint;  // of the shards that were there when it was used
};

void WriteDataConsent(const RunDir& run, const DataConsent& consent,
                      FileSystem& fs = PosixFileSystem());
// Nothing where nobody ever agreed. Throws E-IO where that cannot be told.
std::optional<DataConsent> ReadDataConsent(const RunDir& run,
                                           const FileSystem& fs = PosixFileSystem());

// Whether a run whose checkpoint knows other shards may go on with those of `fingerprint`: where
// they were agreed to before, or where the command line agrees (`id`, empty = it does not) and its
// consent was not used yet. Then it is used up: whoever restarts the ranks later is held to these
// shards.
bool AgreedToData(const RunDir& run, const std::string& id, const std::string& fingerprint,
                  FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
