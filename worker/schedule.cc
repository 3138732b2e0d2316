#include "worker/schedule.h"

#include <cmath>
#include <numbers>

namespace contrail::worker {

double LearningRate(const Schedule& schedule, uint64_t step) {
  if (step < schedule.warmup_steps) {
    return schedule.peak * static_cast<double>(step + 1) /
           static_cast<double>(schedule.warmup_steps);
  }
  if (step >= schedule.total_steps) return 0;
  const double progress = static_cast<double>(step - schedule.warmup_steps) /
                          static_cast<double>(schedule.total_steps - schedule.warmup_steps);
  return schedule.peak * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace contrail::worker
