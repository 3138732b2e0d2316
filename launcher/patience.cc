#include "launcher/patience.h"

#include <algorithm>

#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"

namespace contrail::launcher {
namespace {

constexpr double kFirstPause = 1;
constexpr double kLongestPause = 60;

}  // namespace

void DoPatiently(double seconds, const std::function<void()>& work, const Waiting& waiting) {
  const double begin = waiting.clock.Monotonic();
  for (double pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    try {
      return work();
    } catch (const IoError& error) {
      const bool may_pass = error.kind() == ErrorKind::kEnvironment;
      if (!may_pass || waiting.clock.Monotonic() - begin + pause > seconds) throw;
      LogWarning(std::string(error.what()) + "; tried again in " + HumanSeconds(pause));
    }
    Sleep(waiting, pause);
  }
}

}  // namespace contrail::launcher
