#pragma once
// The numbers of a run over its attempts, for summary.json. Pure: fed with looks and ends.

#include <cstdint>
#include <optional>

#include "launcher/attempt.h"
#include "monitoring/run_files.h"

namespace contrail::launcher {

class Tally {
 public:
  void Begin();  // an attempt
  void See(const JobView& view);
  void End(const AttemptEnd& end);

  bool trained() const { return last_.step > 0; }  // any attempt was seen to train a step
  // Adds what is counted here to `summary`: loss, times, speed. `before`: of the part before a
  // resume, which goes on counting.
  void AddTo(monitor::Summary& summary, const std::optional<monitor::Summary>& before,
             int64_t batch) const;

 private:
  JobView last_;  // the last look of the last attempt that trained
  double training_since_ = 0;
  double train_seconds_ = 0;
  uint64_t step_ = 0;
  double step_time_ = 0;  // when it was first seen
  uint64_t steps_trained_ = 0;
  double steps_seconds_ = 0;
};

}  // namespace contrail::launcher
