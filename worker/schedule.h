#pragma once
// The learning rate as a pure function of the step: linear warm-up, then half a cosine to zero
// (Radford et al. 2021; the exact form is open_clip's open_clip_train/scheduler.py, cosine_lr).

#include <cstdint>

namespace contrail::worker {

struct Schedule {
  double peak = 5e-4;
  uint64_t warmup_steps = 2000;
  uint64_t total_steps = 0;  // of the phase, warm-up included
};

// Rate of update number `step` (from 0) of the phase:
//   peak (step + 1) / warmup                               for step < warmup
//   peak (1 + cos(pi (step - warmup) / (total - warmup))) / 2   then, and 0 from `total` on
double LearningRate(const Schedule& schedule, uint64_t step);

}  // namespace contrail::worker
