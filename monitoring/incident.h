#pragma once
// incidents.jsonl: what went wrong, what was done, and where the time went (the ledger).

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "monitoring/run_dir.h"

namespace contrail::monitor {

struct Incident {
  int attempt = 0;    // the attempt that ended
  std::string cause;  // "rank_died" | "rank_hung" | "start_failed" | "error" | "bad_steps" |
                      // "replica"; "bad_step", "checkpoint_damaged" (a resume passed it over) and
                      // "checkpoint_stays" (pruning could not remove it) ended no attempt
  int rank = -1;      // the culprit, -1 where none can be named
  std::string host;
  std::string detail;         // "killed by signal 9", the first error line
  uint64_t step = 0;          // last finished step seen
  uint64_t resumed_from = 0;  // checkpoint the next attempt starts from (0 = from the beginning)
  int ranks_before = 0;
  int ranks_after = 0;
  std::string action;  // "restart" | "give_up" | "skip"
  double time = 0;     // Unix time of noticing
  // Seconds; filled in as they become known, the incident is written when training goes on.
  double detect = 0;   // from the last sign of life (or the death) to noticing
  double stop = 0;     // until every process of the attempt is gone
  double restart = 0;  // backoff + spawn until all ranks are up
  double load = 0;     // until the first step begins
  double redone = 0;   // training time of the steps trained again
  // From the culprit's last sign of life to the first *new* step finished.
  double to_next_step = 0;
};

// One line, one write, fsynced. The file has one writer (the launcher that holds the lease); a line
// torn by its predecessor's crash is closed first.
void AppendIncident(const RunDir& run, const Incident& incident,
                    FileSystem& fs = PosixFileSystem());
// In file order. Lines that do not parse (a torn last one) are skipped.
std::vector<Incident> ReadIncidents(const RunDir& run, const FileSystem& fs = PosixFileSystem());

}  // namespace contrail::monitor
