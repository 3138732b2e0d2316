#pragma once
// Time, behind an interface so that restart policies and retention are tested with a fake clock.

namespace contrail {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual double Now() const = 0;        // seconds since the Unix epoch
  virtual double Monotonic() const = 0;  // seconds from an arbitrary start, never goes back
};

const Clock& SystemClock();

// For tests: starts at the given second and moves only by Advance.
class FakeClock : public Clock {
 public:
  explicit FakeClock(double start = 1e9) : now_(start) {}
  double Now() const override { return now_; }
  double Monotonic() const override { return now_; }
  void Advance(double seconds) { now_ += seconds; }

 private:
  double now_;
};

}  // namespace contrail
