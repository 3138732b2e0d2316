#pragma once
// Where the time of a step goes.

#include "common/clock.h"

namespace contrail::worker {

class Stopwatch {
 public:
  Stopwatch() : start_(SystemClock().Monotonic()), lap_(start_) {}

  // Seconds since the last lap (or the start).
  float Lap() {
    const double now = SystemClock().Monotonic();
    const double seconds = now - lap_;
    lap_ = now;
    return static_cast<float>(seconds);
  }
  float Total() const { return static_cast<float>(SystemClock().Monotonic() - start_); }

 private:
  double start_;
  double lap_;
};

}  // namespace contrail::worker
