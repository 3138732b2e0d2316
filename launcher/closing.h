#pragma once
// How a run ended: summary.json and the last lines on stderr.

#include <cstdint>
#include <string>

#include "launcher/reporter.h"
#include "launcher/run_record.h"
#include "launcher/tally.h"

namespace contrail::launcher {

class Closing {
 public:
  // Counts wall time from now. `batch`: samples a step.
  Closing(int64_t batch, RunRecord& record, Reporter& reporter);

  // `committed`: the newest committed step; steps that no checkpoint holds are not counted. Adds to
  // the part before a resume.
  monitor::Summary Summarise(const std::string& state, uint64_t committed, int attempt,
                             const Tally& tally);
  void Write(const monitor::Summary& summary);

 private:
  const int64_t batch_;
  const double begin_;
  RunRecord& record_;
  Reporter& reporter_;
};

}  // namespace contrail::launcher
