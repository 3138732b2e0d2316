#include "common/clock.h"

#include <ctime>

namespace contrail {
namespace {

double Read(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

class System : public Clock {
 public:
  double Now() const override { return Read(CLOCK_REALTIME); }
  double Monotonic() const override { return Read(CLOCK_MONOTONIC); }
};

}  // namespace

const Clock& SystemClock() {
  static const System clock;
  return clock;
}

}  // namespace contrail
