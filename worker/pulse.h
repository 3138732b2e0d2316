#pragma once
// The pulse: one small all-gather in every step. It carries what ranks must agree on before the
// optimizer runs (gradient norm, stop requests, the state of a running save) and brings back the
// times of the step before, from which stragglers are told.

#include <cstdint>
#include <vector>

#include "monitoring/recorder.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

// kStalled: the part (or the root's commit) has not moved for checkpoint.stall_seconds.
enum class SaveStatus : int { kIdle = 0, kWriting, kWritten, kFailed, kStalled };

// What one rank says.
struct Pulse {
  double grad_norm_squared = 0;  // of own slices
  int64_t correct = 0;           // own images whose best text is their own
  int64_t replaced = 0;          // own rows that are not the order's own samples
  uint64_t consumed = 0;         // data::Batch::consumed
  uint32_t weights_hash = 0;     // in steps that compare replicas, the same on all ranks
  bool stop = false;             // this process was asked to stop
  SaveStatus save = SaveStatus::kIdle;
  bool save_now = false;        // rank 0: its clock says it is time
  bool commit_running = false;  // rank 0
  uint64_t committed_step = 0;  // rank 0: newest step committed by this attempt
  int failed_saves = 0;         // rank 0: saves that failed in a row
  monitor::StepTimes times;     // of the previous step
};

// What all of them know afterwards: the same on every rank.
struct Verdict {
  double grad_norm = 0;
  int64_t correct = 0;                   // of the global batch
  int64_t replaced = 0;                  // rows of the global batch
  uint64_t consumed = 0;                 // sum over the global batch
  std::vector<uint32_t> weights_hashes;  // rank order
  bool stop = false;
  bool all_written = false;  // every rank's part is written or has failed
  int stalled_rank = -1;     // the lowest one whose save stands still
  bool save_now = false;
  bool commit_running = false;
  uint64_t committed_step = 0;
  int failed_saves = 0;
  std::vector<monitor::StepTimes> times;  // rank order
  // Set by the trainer: a save waits until a step is good again, so that a rollback goes back to
  // before the bad ones.
  bool hold_save = false;
};

Verdict Exchange(Comm& comm, const Pulse& own);

}  // namespace contrail::worker
