#pragma once
// Everything the viewer shows, as one plain struct: put together from the run directory here, drawn
// by page.cc, frame.cc and json.cc, none of which reads a file.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/file_system.h"
#include "monitoring/incident.h"
#include "monitoring/run_files.h"
#include "monitoring/store/run_store.h"

namespace contrail::monitor {

struct PhaseLine {
  size_t phase = 0;     // index into Phases()
  double p50 = 0;       // s: median over ranks, then over the window's steps
  double max = 0;       // s: slowest rank, median over the window's steps
  int worst_rank = -1;  // most often the slowest
};

// A rank that comes last to a collective again and again.
struct Straggler {
  int rank = -1;
  std::string collective;  // "feature gather" | "gradient reduce"
  double share = 0;        // of the window's steps in which it came last
  double seconds = 0;      // median lateness
};

struct CheckpointLine {
  uint64_t step = 0;
  bool on_disk = false;   // committed and still there
  bool recorded = false;  // the numbers below are known
  CheckpointRecord record;
};

struct EvalLine {
  std::string file;  // "zero_shot_step_00000400.json"
  std::string task;  // "zero-shot"
  std::string dataset;
  uint64_t step = 0;
  std::vector<std::pair<std::string, double>> numbers;  // "ensemble.top1" -> 0.87
  std::string json;                                     // the whole object
};

struct CurveBucket {  // neighbouring steps, drawn as one column
  uint64_t step = 0;  // the first
  double mean = 0, min = 0, max = 0;
};

struct RunStatus {
  std::string root, name, model;
  // starting | running | stalled | restarting | done | stopped | gave_up | failed | no telemetry
  std::string state;
  std::string why;  // one sentence where the state needs one
  int attempt = 0;  // 0 = none yet
  int restarts = 0;
  uint64_t step = 0;
  uint64_t total_steps = 0;  // 0 = not known
  uint64_t samples_seen = 0;
  double epochs = 0;          // samples seen / samples per epoch; NaN where not known
  double elapsed = 0;         // s, from the first attempt's start to the last sign of life
  double silent = 0;          // s since the last sign of life
  std::optional<double> eta;  // s
  std::string eta_basis;
  int world_size = 0;
  uint64_t committed_step = 0;  // 0 = none
  uint64_t risk_steps = 0;      // trained since then
  double risk_seconds = 0;      // ... and their training time

  bool has_steps = false;          // the numbers below are of real steps
  size_t window = 0;               // steps they are taken over
  double loss = 0, loss_mean = 0;  // last step's; mean over the window
  double lr = 0, logit_scale = 0, grad_norm = 0;
  double accuracy = 0;  // mean over the window; NaN where not computed
  uint64_t nonfinite_steps = 0;
  uint64_t replaced = 0;          // samples whose places others took
  std::string last_replaced;      // the newest of them, one line; "" = not known
  double samples_per_second = 0;  // median over the window
  double step_seconds = 0;        // median, from step end to step end
  struct Late {
    uint64_t step = 0;
    LateArrival arrival;
  };
  std::vector<Late> late;                 // the worst few of the window
  double data_share = 0, wait_share = 0;  // of the step: waiting for data, exposed collectives
  double goodput = 0;                     // useful training time / elapsed

  std::vector<PhaseLine> phases;  // those that took any time
  std::vector<Straggler> stragglers;
  std::vector<CheckpointLine> checkpoints;  // ascending steps
  std::vector<Incident> incidents;
  std::vector<EvalLine> evals;
  std::optional<Summary> summary;
  std::vector<TelemetryFileState> files;
  uint64_t dropped = 0;
  uint64_t trained_again = 0;  // steps, by the incidents' account
  uint64_t superseded = 0;     // points of undone steps
  std::vector<CurveBucket> loss_curve;
  std::vector<CurveBucket> undone_curve;  // loss of undone steps
};

// Throws UserError E-VIEW-RUN where `root` is not a run directory.
void CheckRunDir(const FileSystem& fs, const std::string& root);

// `store` belongs to the same run and is fresh. Never throws for what a run directory holds.
RunStatus ReadStatus(const RunDir& run, const RunStore& store,
                     const FileSystem& fs = PosixFileSystem(), const Clock& clock = SystemClock());

}  // namespace contrail::monitor
