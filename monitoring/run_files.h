#pragma once
// lease.json and summary.json: written by the launcher, read by launcher and viewer.

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

// Who may write into the run: the launcher with this owner and the ranks it started, or the ranks
// of a bare mpirun. Renewed by its holder every few seconds: others watch whether it changes, on
// their own clocks. Numbers of attempts are claimed once and rise, so of two leases the one of the
// higher attempt is the later one, whichever was written last.
struct Lease {
  std::string owner;  // drawn by its holder when it started (common/token.h)
  int attempt = 0;
  int pid = 0;            // of the launcher, or of rank 0 where there is none
  std::string host;       // where that pid means something
  std::string boot;       // of that host (common/host_name.h): names alone are no identity
  double time = 0;        // Unix seconds of the last renewal, for people
  uint64_t renewals = 0;  // so that every renewal is a change, whatever the holder's clock does
  std::string state;      // "running" | "restarting" | "released"
  std::string job;        // scheduler's job id or empty: a requeued job knows its own run
};

// Written when the run ends, before its evaluation and after it; a resumed run replaces it.
struct Summary {
  std::string state;  // "evaluating" (trained) | "done" | "stopped" | "gave_up" | "failed"
  uint64_t steps = 0;
  uint64_t samples_seen = 0;
  double final_loss = std::numeric_limits<double>::quiet_NaN();
  int attempts = 0;
  int incidents = 0;
  double wall_seconds = 0;
  double train_seconds = 0;
  double samples_per_second = 0;
  int checkpoints = 0;
  uint64_t replaced = 0;    // samples whose places others took, in these steps
  std::string eval = "{}";  // a JSON object: results of evaluations at the end
  double time = 0;          // Unix seconds of writing
  std::string message;      // the last error line where the run did not end well
};

// Written aside under a name of the owner's own: two writers never take away each other's text.
void WriteLease(const RunDir& run, const Lease& lease, FileSystem& fs = PosixFileSystem());
// As WriteLease, but `still` is asked when the text is durable and only its name is missing: what
// came before may have hung for any time. False, and nothing has changed, where it says no.
bool WriteLeaseIf(const RunDir& run, const Lease& lease, FileSystem& fs,
                  const std::function<bool()>& still);
// The whole lease, or nullopt where there is none. Throws E-IO where it cannot be read and E-LEASE
// where its text is no lease: neither means that the run is free.
std::optional<Lease> ReadLease(const RunDir& run, const FileSystem& fs = PosixFileSystem());

void WriteSummary(const RunDir& run, const Summary& summary, FileSystem& fs = PosixFileSystem());
std::optional<Summary> ReadSummary(const RunDir& run, const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
