#pragma once
// What a step tells the outside: telemetry file, progress word, status lines. Never blocks a step.

#include <memory>
#include <string>
#include <vector>

#include "monitoring/recorder.h"
#include "worker/progress.h"

namespace contrail::worker {

class Reporter {
 public:
  struct Options {
    bool prints = false;  // rank 0: status lines on stderr
    uint64_t total_steps = 0;
    uint64_t every_steps = 1;  // telemetry
    double status_seconds = 10;
  };
  // `recorder` may be null: only a node's first rank records.
  Reporter(const Options& options, Progress& progress, std::unique_ptr<monitor::Recorder> recorder);
  ~Reporter();  // hands over what is still held back

  // Times of every rank for the last finished step; they arrive with the next step's pulse.
  void Times(std::vector<monitor::StepTimes> ranks);
  // Who came late to that step's collectives; before its Times.
  void Late(std::vector<monitor::LateArrival> late) { held_.late = std::move(late); }
  // `record` is held back until its Times arrive.
  void Step(monitor::StepRecord record);
  void Checkpoint(const monitor::CheckpointRecord& record);
  // What was handed over so far is on disk afterwards (bounded wait). Any thread.
  void WaitUntilDurable();

 private:
  void Flush();
  void PrintStatus(const monitor::StepRecord& record);

  Options options_;
  Progress& progress_;
  std::unique_ptr<monitor::Recorder> recorder_;
  monitor::StepRecord held_;
  bool holding_ = false;
  double smooth_rate_ = 0;  // samples/s, exponential mean over about ten steps
  double last_status_ = 0;
};

}  // namespace contrail::worker
