#pragma once
// A saver of one rank on a disk in memory, driven step by step as the trainer does.

#include <gmock/gmock.h>

#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "checkpoint/load.h"
#include "common/clock.h"
#include "common/recording_file_system.h"
#include "monitoring/run_files.h"
#include "worker/saver.h"

namespace contrail::worker {

inline constexpr uint64_t kElements = 1000;

inline std::shared_ptr<const ckpt::Snapshot> SnapshotOf(uint64_t step) {
  auto snapshot = std::make_shared<ckpt::Snapshot>();
  snapshot->ranges = {{0, kElements}};
  for (auto& data : snapshot->data) data.assign(kElements, static_cast<float>(step));
  return snapshot;
}

class SaverTest : public testing::Test {
 protected:
  SaverTest() : comm_(MakeSingleComm()) { disk_.MakeDirs("/run/checkpoints"); }

  Saver::Options OptionsOf(uint64_t every_steps) const {
    ckpt::Layout layout;
    layout.tensors = {{"w", {static_cast<int64_t>(kElements)}, 0, kElements}};
    layout.num_elements = kElements;
    return {.writer = {{"/run"}, 2, "aa"},
            .every_steps = every_steps,
            .keep_last = 10,
            .layout = layout,
            .ranges_of_rank = {{{0, kElements}}}};
  }
  void Make(FileSystem& fs, Saver::Options options) {
    const Writer& writer = options.writer;
    monitor::WriteLease(writer.run, {.owner = writer.owner, .attempt = writer.attempt}, disk_);
    saver_ = std::make_unique<Saver>(
        fs, *comm_, std::move(options),
        [this](const monitor::CheckpointRecord& record) { told_.push_back(record); });
  }
  void Make(FileSystem& fs, uint64_t every_steps, uint64_t resumed_step = 0,
            double every_minutes = 0) {
    Saver::Options options = OptionsOf(every_steps);
    options.every_minutes = every_minutes;
    options.resumed_step = resumed_step;
    Make(fs, std::move(options));
  }
  static ckpt::RunState StateOf(uint64_t step) {
    ckpt::RunState state;
    state.step = step;
    state.attempt = 2;
    state.model = "test";
    return state;
  }
  // Until background work has ended, or stands still.
  void Settle() {
    const double start = SystemClock().Monotonic();
    Pulse pulse;
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      pulse = {};
      saver_->Fill(pulse);
    } while (pulse.save == SaveStatus::kWriting && SystemClock().Monotonic() - start < 10);
  }
  // One training step as the trainer does it; `settle` lets background work end first.
  void Step(uint64_t step, bool settle = true) {
    if (settle) Settle();
    Pulse pulse;
    saver_->Fill(pulse);
    const Verdict verdict = Exchange(*comm_, pulse);
    saver_->AfterStep(verdict, StateOf(step), [step] { return SnapshotOf(step); });
  }
  void Finish(uint64_t step) {
    saver_->Finish(StateOf(step), [step] { return SnapshotOf(step); });
  }
  std::vector<uint64_t> Steps() const {
    std::vector<uint64_t> steps;
    for (const auto& entry : ckpt::ListSteps(disk_, "/run/checkpoints"))
      steps.push_back(entry.step);
    return steps;
  }

  // Steps until `done` says so, and fails the test where that takes too long.
  void StepUntil(uint64_t* step, const std::function<bool()>& done) {
    const double start = SystemClock().Monotonic();
    while (!done()) {
      ASSERT_LT(SystemClock().Monotonic() - start, 30);
      Step((*step)++);
    }
  }

  std::unique_ptr<Comm> comm_;
  // Never destroyed: threads that were left behind may use it to the end of the process.
  RecordingFileSystem& disk_ = *new RecordingFileSystem;
  std::unique_ptr<Saver> saver_;
  std::vector<monitor::CheckpointRecord> told_;
};

}  // namespace contrail::worker
