#pragma once
// A run's phases laid out in steps: everything about a step that is a function of its number.

#include <cstdint>
#include <vector>

#include "configs/config.h"
#include "model/registry.h"

namespace contrail::worker {

struct Phase {
  uint64_t first_step = 0;  // 0-based: the phase trains steps [first_step, first_step + steps)
  uint64_t steps = 0;
  uint64_t warmup_steps = 0;
  double lr = 0;
  int64_t resolution = 0;  // of the images
};

class PhasePlan {
 public:
  // `steps_per_epoch` whole global batches make an epoch. Throws UserError E-PHASE-RESOLUTION
  // where a phase wants a resolution that the model cannot have; names the nearest ones.
  PhasePlan(const Config& config, const model::ModelSpec& spec, uint64_t steps_per_epoch);

  uint64_t total_steps() const { return total_; }
  const std::vector<Phase>& phases() const { return phases_; }
  // Index of the phase that trains 0-based step `step`; the last phase for total_steps().
  size_t IndexOf(uint64_t step) const;
  // Learning rate of 0-based step `step`: linear warm-up, then a cosine to zero, per phase.
  double LearningRate(uint64_t step) const;
  // Whether 0-based step `step` is the first of a phase.
  bool BeginsPhase(uint64_t step) const { return phases_[IndexOf(step)].first_step == step; }
  int64_t ResolutionAt(uint64_t step) const { return phases_[IndexOf(step)].resolution; }
  // Updates that the optimizer's moments have seen before 0-based step `step`. Each stretch of
  // phases of one resolution begins with fresh moments, as a fine-tuning run of its own would.
  uint64_t UpdatesBefore(uint64_t step) const;

 private:
  std::vector<Phase> phases_;
  uint64_t total_ = 0;
};

}  // namespace contrail::worker
