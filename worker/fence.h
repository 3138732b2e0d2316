#pragma once
// Whether this attempt may still write: nobody else has taken the run over.

#include <string>

#include "common/file_system.h"
#include "monitoring/owner/take_over.h"
#include "monitoring/run_dir.h"

namespace contrail::worker {

// Who writes.
struct Writer {
  monitor::RunDir run;
  int attempt = 1;
  std::string owner;  // Launch::owner
};

// How long a holder has to bring its lease back: two renewals and what a slow disk adds.
inline constexpr double kFenceSeconds = 3 * monitor::kLeaseRenewal;

// Throws EnvironmentError E-FENCED where somebody else has the run: where the lease is of a later
// attempt than ours, or of ours under another owner, or a later attempt has committed a step. Where
// it cannot be told (E-IO; E-LEASE where it is damaged, missing, or another owner's of an earlier
// attempt) nothing may be written either, but another try may do better. A lease that is missing or
// of an earlier attempt has been written over by somebody who was taken for dead, and its holder
// writes it again: that is waited for, for kFenceSeconds.
void CheckFence(const Writer& writer, const FileSystem& fs, const monitor::Waiting& waiting = {});

}  // namespace contrail::worker
