#pragma once
// Whether this attempt may still write: no other launcher has taken the run over.

#include <string>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::worker {

// Who writes.
struct Writer {
  monitor::RunDir run;
  int attempt = 1;
  std::string owner;        // Launch::owner
  bool supervised = false;  // a launcher holds the lease for us
};

// Throws EnvironmentError E-FENCED where somebody else has the run: where the lease tells of a
// later attempt than ours or, in a supervised job, has another owner. Where it cannot be told
// (E-IO; E-LEASE where it is damaged, or a supervised job finds none) nothing may be written
// either, but another try may do better.
void CheckFence(const Writer& writer, const FileSystem& fs);

}  // namespace contrail::worker
