#include "worker/tell_stays.h"

#include <algorithm>
#include <exception>

#include "common/clock.h"
#include "common/log.h"
#include "monitoring/damaged_step.h"

namespace contrail::worker {

void TellStays(FileSystem& fs, const Writer& writer, uint64_t step,
               const std::vector<std::string>& problems) {
  if (problems.empty()) return;
  for (const std::string& problem : problems) LogWarning(problem);
  try {
    const auto told = monitor::ReadDamagedSteps(writer.run, writer.attempt, fs);
    for (const std::string& problem : problems) {
      const bool known =
          std::any_of(told.begin(), told.end(), [&](const monitor::DamagedStep& one) {
            return one.cause == monitor::kStays && one.why == problem;
          });
      if (known) continue;
      monitor::AppendDamagedStep(
          writer.run, writer.attempt,
          {.step = step, .why = problem, .time = SystemClock().Now(), .cause = monitor::kStays},
          fs);
    }
  } catch (const std::exception& error) {
    LogWarning(std::string("that could not be recorded: ") + error.what());
  }
}

}  // namespace contrail::worker
