#pragma once
// The telemetry of a run, merged over its attempts: what the run's model went through.
//
// An attempt that resumed from step R undoes what earlier attempts did after R. The committed
// series is therefore, for each step, the record of the latest attempt that trained it; undone
// points are kept aside as superseded. Works while the job runs (call Refresh again), after it
// died, on a read-only copy, and with no telemetry yet.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/file_system.h"
#include "monitoring/metrics.h"
#include "monitoring/recorder.h"
#include "monitoring/run_dir.h"
#include "monitoring/store/tail_reader.h"

namespace contrail::monitor {

struct AttemptLog {
  int number = 0;
  bool opened = false;  // its header is readable: only then is it known what it undid
  uint64_t resumed_step = 0;
  double started = 0;                         // Unix seconds
  double last_time = 0;                       // of its newest record
  bool closed = false;                        // its recorder ended in good order
  std::vector<StepRow> rows;                  // ascending steps
  std::vector<CheckpointRecord> checkpoints;  // ascending steps
};

struct SeriesPoint {
  uint64_t step = 0;
  double value = 0;
};

struct TelemetryFileState {
  std::string name;
  uint64_t bytes = 0;       // of good records
  uint64_t torn_bytes = 0;  // after them, not (yet) a whole record
  uint64_t dropped = 0;     // records its writer had to drop
  std::string problem;
};

class RunStore {
 public:
  explicit RunStore(const RunDir& run, const FileSystem& fs = PosixFileSystem());

  // Reads what was appended since the last call. Pointers from earlier calls become invalid.
  void Refresh();

  // In order. The second number counts starts under the same attempt number: without a launcher
  // to number them, a worker that is started again calls itself attempt 1 again.
  using AttemptKey = std::pair<int, int>;
  const std::map<AttemptKey, AttemptLog>& attempts() const { return attempts_; }
  const std::vector<const StepRow*>& committed() const { return committed_; }
  const std::vector<const StepRow*>& superseded() const { return superseded_; }
  const std::vector<CheckpointRecord>& checkpoints() const { return checkpoints_; }
  std::vector<TelemetryFileState> files() const;

  uint64_t dropped() const;
  uint64_t total_steps() const { return total_steps_; }              // 0 = not known
  uint64_t samples_per_epoch() const { return samples_per_epoch_; }  // 0 = not known

  // The committed series of a metric; points that were not measured are left out.
  std::vector<SeriesPoint> Series(const Metric& metric) const;

 private:
  struct File {
    TailReader reader;
    AttemptKey attempt;
    int node = 0;
    uint64_t dropped = 0;
  };

  void Take(File& file, const TelemetryEvent& event);
  void Merge();

  RunDir run_;
  const FileSystem* fs_;
  std::map<std::string, File> files_;  // by name
  std::map<AttemptKey, AttemptLog> attempts_;
  uint64_t total_steps_ = 0;
  uint64_t samples_per_epoch_ = 0;
  std::vector<const StepRow*> committed_;
  std::vector<const StepRow*> superseded_;
  std::vector<CheckpointRecord> checkpoints_;
};

}  // namespace contrail::monitor
