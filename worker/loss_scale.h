#pragma once
// Dynamic loss scaling (Micikevicius et al. 2018, "Mixed precision training", section 3.2): fp16
// ends at 6e-8, so gradients are formed `value()` times larger and divided again where the
// optimizer reads them. The scale is a power of two: multiplying by it loses nothing.
//
// An overflow is no fault of the model: the step is skipped and the scale halved. After kGoodSteps
// steps without one it is doubled.

#include <cmath>
#include <cstdint>

namespace contrail::worker {

class LossScale {
 public:
  static constexpr int kFirstPower = 16;     // 65536, as PyTorch's GradScaler
  static constexpr double kMost = 16777216;  // 2^24: fp16 ends 2^24 above its smallest
  static constexpr double kLeast = 1;        // below it the gradient itself is out of range
  static constexpr uint64_t kGoodSteps = 2000;

  // Everything a resume needs.
  struct State {
    double value = 1;
    uint64_t good_steps = 0;  // since the last change
    uint64_t overflows = 0;   // steps skipped for it
  };

  LossScale() = default;  // off: 1 for ever
  static LossScale On(int64_t power = kFirstPower) {
    return LossScale({std::ldexp(1.0, static_cast<int>(power)), 0, 0});
  }
  explicit LossScale(const State& state) : on_(true), state_(state) {}

  bool on() const { return on_; }
  double value() const { return state_.value; }
  const State& state() const { return state_; }

  void Good();
  // The scaled gradient was not finite. False where the scale is not to blame (it is off, or as
  // small as it gets): then it is a bad step as everywhere else.
  bool Overflow();

 private:
  bool on_ = false;
  State state_;
};

}  // namespace contrail::worker
