#include "launcher/tally.h"

namespace contrail::launcher {

void Tally::Begin() { training_since_ = 0; }

void Tally::See(const JobView& view) {
  if (training_since_ == 0 && view.training) training_since_ = view.now;
  if (view.step > 0 && view.step != step_) step_time_ = view.now;
  step_ = view.step;
}

void Tally::End(const AttemptEnd& end) {
  if (training_since_ > 0) train_seconds_ += end.noticed - training_since_;
  if (end.last.first_step == 0) return;
  if (end.last.step > end.last.first_step) {
    steps_trained_ += end.last.step - end.last.first_step;
    steps_seconds_ += step_time_ - end.last.first_step_time;
  }
  last_ = end.last;
}

void Tally::AddTo(monitor::Summary& summary, const std::optional<monitor::Summary>& before,
                  int64_t batch) const {
  if (last_.step > 0) {
    summary.final_loss = last_.loss;
  } else if (before) {
    summary.final_loss = before->final_loss;
  }
  summary.train_seconds = train_seconds_ + (before ? before->train_seconds : 0);
  if (steps_seconds_ > 0) {
    summary.samples_per_second =
        static_cast<double>(steps_trained_) * static_cast<double>(batch) / steps_seconds_;
  } else if (last_.samples_per_second > 0) {
    summary.samples_per_second = last_.samples_per_second;  // too few steps for looks to tell
  } else if (before) {
    summary.samples_per_second = before->samples_per_second;
  }
}

}  // namespace contrail::launcher
