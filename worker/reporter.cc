#include "worker/reporter.h"

#include <cstdio>

#include "common/clock.h"
#include "common/log.h"
#include "common/strings.h"

namespace contrail::worker {

Reporter::Reporter(const Options& options, Progress& progress,
                   std::unique_ptr<monitor::Recorder> recorder)
    : options_(options), progress_(progress), recorder_(std::move(recorder)) {}

Reporter::~Reporter() { Flush(); }

void Reporter::Times(std::vector<monitor::StepTimes> ranks) {
  held_.ranks = std::move(ranks);
  Flush();
}

void Reporter::Flush() {
  if (!holding_) return;
  holding_ = false;
  if (recorder_) recorder_->Record(held_);
}

void Reporter::Step(monitor::StepRecord record) {
  Flush();
  smooth_rate_ = smooth_rate_ == 0 ? record.samples_per_second
                                   : 0.9 * smooth_rate_ + 0.1 * record.samples_per_second;
  progress_.FinishStep(record.step, record.loss, smooth_rate_);
  if (options_.prints) PrintStatus(record);
  if (record.step % options_.every_steps != 0 && record.step != options_.total_steps) return;
  held_ = std::move(record);
  holding_ = true;
}

void Reporter::Checkpoint(const monitor::CheckpointRecord& record) {
  if (recorder_) recorder_->Record(record);
}

void Reporter::WaitUntilDurable() {
  constexpr double kLongest = 5;  // a file system that hangs must not keep a checkpoint back
  if (recorder_) recorder_->Flush(kLongest);
}

void Reporter::PrintStatus(const monitor::StepRecord& record) {
  const double now = SystemClock().Monotonic();
  if (now - last_status_ < options_.status_seconds && record.step != options_.total_steps) return;
  last_status_ = now;
  const double left = static_cast<double>(options_.total_steps - record.step) *
                      static_cast<double>(record.samples_seen) / static_cast<double>(record.step) /
                      smooth_rate_;
  char line[256];
  std::snprintf(line, sizeof line,
                "step %llu/%llu  loss %.4f  accuracy %.1f%%  scale %.1f  lr %.2e  %.0f samples/s  ",
                static_cast<unsigned long long>(record.step),
                static_cast<unsigned long long>(options_.total_steps), record.loss,
                100 * record.accuracy_image_to_text, record.logit_scale, record.lr, smooth_rate_);
  LogInfo(line + HumanSeconds(left) + " left");
}

}  // namespace contrail::worker
