#pragma once
// Worker-side telemetry: plain structs in, a bounded queue, one background thread that appends to
// a file. Record() never blocks a step: a full queue drops and counts.
//
// What is the same on all ranks is written once a job, by node 0, with statistics over the ranks;
// the times of single ranks are written by each node for its own. Hundreds of nodes thus write
// what one would, not a copy each.

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/progress_word.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

// Where a step's time went on one rank, seconds.
struct StepTimes {
  float data_wait = 0;
  float forward = 0;
  float feature_gather = 0;  // includes waiting for the last rank
  float loss = 0;
  float backward = 0;
  float grad_reduce = 0;  // exposed part
  float optimizer = 0;
  float weight_gather = 0;
  float checkpoint_stall = 0;
  float total = 0;
};

inline constexpr size_t kNumPhases = sizeof(StepTimes) / sizeof(float);  // of a step, `total` last

struct PhaseStats {
  float p50 = 0;  // over ranks (the lower of the two middle ones)
  float max = 0;
  int max_rank = -1;  // -1: no rank reported
};

// Statistics over the ranks of a step.
struct RankSummary {
  std::array<PhaseStats, kNumPhases> phases{};  // in the order of metrics.h's Phases()
  float gather_lateness = 0;                    // s, of the latest rank at the feature gather
  float reduce_lateness = 0;                    // s, of the latest rank at the gradient reduction
  int gather_late_rank = -1;
  int reduce_late_rank = -1;
};

// The last rank to come to a collective, and how long the first had waited by then.
struct LateArrival {
  int rank = 0;
  Operation operation = Operation::kNone;
  int ordinal = 0;          // which of its kind since the step before, from 1
  uint64_t collective = 0;  // sequence number, the same on all ranks
  float seconds = 0;
};

struct StepRecord {
  uint64_t step = 0;  // 1 = the first step of the run
  uint64_t epoch = 0;
  uint64_t samples_seen = 0;  // after this step
  double wall_time = 0;       // Unix seconds at the end of the step
  double loss = 0;            // global mean, exact
  double lr = 0;
  double logit_scale = 0;  // exp'd
  double grad_norm = 0;
  // In-batch top-1, 0..1; NaN where not computed.
  double accuracy_image_to_text = std::numeric_limits<double>::quiet_NaN();
  double samples_per_second = 0;
  int world_size = 0;
  uint64_t skipped_steps = 0;  // so far in the run: bad steps, whose updates were not applied
  double loss_scale = 1;       // fp16's, during the step; 1 elsewhere
  uint64_t replaced = 0;       // so far in the run: samples whose places others took
  // Of the samples that all steps so far took, data/replace.h; 0 where it is not known.
  uint64_t consumed = 0;
  std::vector<StepTimes> ranks;  // one per rank of the job, rank order (may be empty)
  // Over all ranks of the job, in a file where `ranks` are those of its own node.
  std::optional<RankSummary> over_ranks;
  std::vector<LateArrival> late;  // of this step's collectives, the worst few, latest first
};

struct CheckpointRecord {
  uint64_t step = 0;
  double wall_time = 0;
  double stall_seconds = 0;
  double write_seconds = 0;
  uint64_t bytes = 0;
};

class Recorder {
 public:
  struct Options {
    RunDir run;
    int attempt = 1;
    int node = 0;
    std::vector<int> ranks;     // of this node; empty: all of the job, as where there is one node
    uint64_t resumed_step = 0;  // steps after this one are (re)recorded by this attempt
    std::string config_toml;    // goes into the file's first records
    uint64_t total_steps = 0;   // of the whole run, for the viewer's ETA; 0 = not known
    uint64_t samples_per_epoch = 0;  // 0 = not known
    size_t queue = 4096;             // records waiting; one more is dropped and counted
    double reopen_seconds = 10;      // after a failed write, until a new file is tried
  };
  // Opens telemetry/events.out.tfevents.<unix>.attempt_A.node_0; on other nodes
  // attempts/attempt_A/rank_times.<unix>.node_N, out of TensorBoard's way. Throws IoError. Later
  // failures (a full disk) never reach the caller: they are logged once, counted as dropped, and a
  // new file is tried from time to time.
  static std::unique_ptr<Recorder> Open(const Options& options, FileSystem& fs = PosixFileSystem());
  virtual ~Recorder() = default;                      // drains, flushes, fsyncs
  virtual void Record(const StepRecord& record) = 0;  // with the times of all ranks
  virtual void Record(const CheckpointRecord& record) = 0;
  virtual uint64_t dropped() const = 0;
  // Waits until everything recorded so far is written and fsynced, at most `seconds`. Called (on a
  // background thread) before a checkpoint commits: a resume goes on after the committed step, so
  // the record of the steps before it must not die with this process.
  virtual void Flush(double seconds) = 0;
};

}  // namespace contrail::monitor
