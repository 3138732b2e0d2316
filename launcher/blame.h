#pragma once
// Which of the ranks that ended was the first cause. Pure.

#include <optional>
#include <string>
#include <vector>

#include "launcher/policy.h"
#include "monitoring/end_record.h"

namespace contrail::launcher {

// How one rank ended, as far as it is known when the end is noticed.
struct RankEnd {
  int rank = -1;
  std::string host;
  uint64_t step = 0;
  uint64_t collective = 0;
  std::optional<monitor::EndRecord> record;
  std::optional<int> status;  // wait(2) status of a rank that left no record

  bool Good() const {
    return record && (record->outcome == "done" || record->outcome == "stopped");
  }
};

// The first cause among ends that are not Good(); nothing where there is none. A rank's own words
// about the user's mistake come first, then a bug, then other errors, then deaths without a word,
// and last errors of communication, which a peer's death causes. Where ranks timed out waiting for
// another and nobody has an error of its own, the one they name has hung. Among equals the lowest
// collective is the cause and the rest are victims.
std::optional<Failure> FirstCause(const std::vector<RankEnd>& ends);

}  // namespace contrail::launcher
