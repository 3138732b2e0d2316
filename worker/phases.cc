#include "worker/phases.h"

#include <cmath>

#include "common/error.h"
#include "worker/schedule.h"

namespace contrail::worker {
namespace {

uint64_t StepsOf(double epochs, int64_t steps, uint64_t steps_per_epoch) {
  if (steps > 0) return static_cast<uint64_t>(steps);
  const double exact = epochs * static_cast<double>(steps_per_epoch);
  return std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(exact)));
}

int64_t CheckedResolution(int64_t wanted, const model::ModelSpec& spec, const std::string& where) {
  if (wanted == 0) return spec.resolution;
  const int64_t cell = model::PixelsToACell(spec);
  if (wanted > model::kLargestResolution) {
    throw UserError("E-PHASE-RESOLUTION", where,
                    "resolution " + std::to_string(wanted) + " is more than a model can have",
                    "set at most " + std::to_string(model::kLargestResolution / cell * cell));
  }
  const int64_t below = wanted / cell * cell;
  if (below == wanted) return wanted;
  const std::string nearest = below == 0 ? "" : std::to_string(below) + " or ";
  throw UserError("E-PHASE-RESOLUTION", where,
                  "resolution " + std::to_string(wanted) + " is not a multiple of " +
                      std::to_string(cell) + ", " + model::CellName(spec) + " of " + spec.name,
                  "set " + nearest + std::to_string(below + cell));
}

}  // namespace

PhasePlan::PhasePlan(const Config& config, const model::ModelSpec& spec, uint64_t steps_per_epoch) {
  std::vector<PhaseConfig> wanted = config.phase;
  if (wanted.empty()) {
    wanted.push_back({.epochs = config.train.epochs, .steps = config.train.steps});
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    const PhaseConfig& phase = wanted[i];
    const std::string where = config.file + ": [[phase]] " + std::to_string(i + 1);
    const int64_t warmup = phase.warmup_steps >= 0 ? phase.warmup_steps : config.train.warmup_steps;
    phases_.push_back({.first_step = total_,
                       .steps = StepsOf(phase.epochs, phase.steps, steps_per_epoch),
                       .warmup_steps = static_cast<uint64_t>(warmup),
                       .lr = phase.lr > 0 ? phase.lr : config.train.lr,
                       .resolution = CheckedResolution(phase.resolution, spec, where)});
    total_ += phases_.back().steps;
  }
}

size_t PhasePlan::IndexOf(uint64_t step) const {
  size_t index = phases_.size() - 1;
  while (index > 0 && step < phases_[index].first_step) --index;
  return index;
}

uint64_t PhasePlan::UpdatesBefore(uint64_t step) const {
  size_t index = IndexOf(step);
  while (index > 0 && phases_[index - 1].resolution == phases_[index].resolution) --index;
  return step - phases_[index].first_step;
}

double PhasePlan::LearningRate(uint64_t step) const {
  const Phase& phase = phases_[IndexOf(step)];
  return worker::LearningRate({phase.lr, phase.warmup_steps, phase.steps}, step - phase.first_step);
}

}  // namespace contrail::worker
