#pragma once
// A whole run directory as a launcher and workers leave it: two attempts of 4 ranks, rank 1 killed
// at step 27 with a checkpoint at 20, rank 2 always late; 50 of 80 steps done.

#include "monitoring/incident.h"
#include "monitoring/run_files.h"
#include "tests/monitoring/testing.h"

namespace contrail::monitor {

inline constexpr double kSyntheticEnd = 1.76e9 + 60;  // Unix time a little after step 50's end

inline void CommitSynthetic(const RunDir& run, Recorder& recorder, uint64_t step) {
  char name[64];
  std::snprintf(name, sizeof name, "/step_%08llu", static_cast<unsigned long long>(step));
  PosixFileSystem().MakeDirs(run.Checkpoints() + name);
  WriteFile(run.Checkpoints() + name + "/COMMIT", "");
  recorder.Record(CheckpointRecord{.step = step,
                                   .wall_time = MakeStep(step).wall_time + 0.3,
                                   .stall_seconds = 0.012,
                                   .write_seconds = 0.25,
                                   .bytes = 90'012'345});
}

// Step records of the second attempt are 20 s later than MakeStep says: that is the restart.
inline StepRecord SyntheticStep(uint64_t step, int attempt) {
  StepRecord record = MakeStep(step, 4, attempt == 1 && step > 20 ? 0.3 : 0.0);
  if (attempt == 2) record.wall_time += 20;
  return record;
}

inline void MakeSyntheticRun(const RunDir& run) {
  PosixFileSystem().MakeDirs(run.root);
  for (const int attempt : {1, 2}) {
    const uint64_t resumed = attempt == 1 ? 0 : 20;
    const auto recorder = Recorder::Open({.run = run,
                                          .attempt = attempt,
                                          .resumed_step = resumed,
                                          .config_toml = "[run]\nseed = 3\n",
                                          .total_steps = 80,
                                          .samples_per_epoch = 6400});
    for (uint64_t step = resumed + 1; step <= (attempt == 1 ? 27u : 50u); ++step) {
      recorder->Record(SyntheticStep(step, attempt));
      if (step % 20 == 0) CommitSynthetic(run, *recorder, step);
    }
  }
  AppendIncident(run, {.attempt = 1,
                       .cause = "rank_died",
                       .rank = 1,
                       .host = "node7",
                       .detail = "killed by signal 9",
                       .step = 27,
                       .resumed_from = 20,
                       .ranks_before = 4,
                       .ranks_after = 4,
                       .action = "restart",
                       .time = 1.76e9 + 14,
                       .detect = 0.3,
                       .stop = 0.2,
                       .restart = 1.5,
                       .load = 0.4,
                       .redone = 3.5,
                       .to_next_step = 6.0});
  PosixFileSystem().MakeDirs(run.Eval());
  WriteFile(run.Eval() + "/zero_shot_step_00000040.json",
            R"({"task":"zero-shot","dataset":"fashion-mnist","step":40,"samples":10000,)"
            R"("one_prompt":{"top1":0.5025,"per_class":[0.5]},"ensemble":{"top1":0.6125},)"
            R"("seconds":3.5})");
  WriteLease(run, {.attempt = 2,
                   .pid = 4321,
                   .host = "elsewhere",
                   .time = kSyntheticEnd - 14,
                   .state = "running"});
}

}  // namespace contrail::monitor
