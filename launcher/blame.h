#pragma once
// How an attempt ended, and which rank was the first cause. Pure: everything that is known goes in,
// a judgement comes out, or the word that more will be known soon.
//
// The witnesses, the best first: a rank's own words (said in shared memory, or left as an end
// record on the shared file system); the exit status of a rank on this node, and when its death was
// noticed; what mpirun says of a rank it lost. Ranks that mpirun ends because of another die by
// SIGKILL or SIGTERM, after the first sign: they are victims.

#include <optional>
#include <string>
#include <vector>

#include "launcher/mpirun_notice.h"
#include "launcher/policy.h"
#include "monitoring/end_record.h"

namespace contrail::launcher {

// How one rank ended, as far as it is known.
struct RankEnd {
  int rank = -1;
  std::string host;
  uint64_t step = 0;
  uint64_t collective = 0;
  std::optional<monitor::EndRecord> record;
  std::optional<int> status;  // wait(2) status of a rank of this node that left no record
  double noticed = 0;         // CLOCK_MONOTONIC of the look that found it

  bool Good() const {
    return record && (record->outcome == "done" || record->outcome == "stopped");
  }
};

struct Evidence {
  int ranks = 0;              // of the job
  bool one_node = true;       // all of them are here
  bool allocation = false;    // inside a scheduler's job
  bool asked = false;         // the launcher was asked to stop
  std::string host;           // this node's
  int mpirun_pid = 0;         // which started the ranks here
  int shown = 0;              // ranks that came up here
  std::vector<RankEnd> ends;  // those that died, failed or said that they are done; each once
  std::optional<int> mpirun;  // its wait(2) status once it has ended
  std::optional<MpirunNotice> notice;
  bool records_read = false;  // end records of ranks that said nothing here were looked for
  double now = 0;             // CLOCK_MONOTONIC
  double mpirun_ended = 0;    // ... of noticing it
  double patience = 15;  // seconds for ranks and mpirun to go once all have said that they are done
};

struct Verdict {
  enum class Kind { kWait, kDone, kStopped, kFailed };
  Kind kind = Kind::kWait;
  Failure failure = {};  // with kFailed
};

// On one node a death without a word is judged at once, unless several came in one look; where a
// rank has spoken, the others of the node are heard for up to two seconds. With several nodes
// mpirun's end is awaited (ten seconds at most), then end records and mpirun's own words (five).
//
// Ranks that stopped although the launcher was not asked: all of them were sent a signal, or all
// those on other nodes together with the daemons above them, as a scheduler does it, and the job is
// to stop. Otherwise one rank was asked to go (kRankTerminated), and the run goes on without it.
Verdict Judge(const Evidence& evidence);

// The first cause among ends that are not Good(); nothing where there is none. A rank's own words
// about the user's mistake come first, then a bug, then other errors; then a rank that others
// waited for in vain; then mpirun's own death, what mpirun says, and deaths without a word, the
// first one noticed; and last errors of communication, which a peer's death causes. Among equals
// the lowest collective is the cause and the rest are victims.
std::optional<Failure> FirstCause(const Evidence& evidence);

}  // namespace contrail::launcher
