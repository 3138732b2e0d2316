#include "worker/loss_scale.h"

#include <algorithm>

namespace contrail::worker {

void LossScale::Good() {
  if (!on_ || ++state_.good_steps < kGoodSteps) return;
  state_.good_steps = 0;
  state_.value = std::min(kMost, 2 * state_.value);
}

bool LossScale::Overflow() {
  if (!on_ || state_.value <= kLeast) return false;
  state_.good_steps = 0;
  state_.value /= 2;
  ++state_.overflows;
  return true;
}

}  // namespace contrail::worker
