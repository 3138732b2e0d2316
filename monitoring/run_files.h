#pragma once
// lease.json and summary.json: written by the launcher, read by launcher and viewer.

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

// Who may write into the run: the launcher with this owner, and the ranks it started. Renewed by
// its holder every few seconds: others watch whether it changes, on their own clocks.
struct Lease {
  std::string owner;  // drawn by the launcher when it started (common/token.h)
  int attempt = 0;
  int pid = 0;            // of the launcher
  std::string host;       // where that pid means something
  double time = 0;        // Unix seconds of the last renewal, for people
  uint64_t renewals = 0;  // so that every renewal is a change, whatever the holder's clock does
  std::string state;      // "running" | "restarting" | "released"
  std::string job;        // scheduler's job id or empty: a requeued job knows its own run
};

// Written once, when the run ends (and replaced when a resumed run ends again).
struct Summary {
  std::string state;  // "done" | "stopped" | "gave_up" | "failed"
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
// The whole lease, or nullopt where there is none. Throws E-IO where it cannot be read and E-LEASE
// where its text is no lease: neither means that the run is free.
std::optional<Lease> ReadLease(const RunDir& run, const FileSystem& fs = PosixFileSystem());

void WriteSummary(const RunDir& run, const Summary& summary, FileSystem& fs = PosixFileSystem());
std::optional<Summary> ReadSummary(const RunDir& run, const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
