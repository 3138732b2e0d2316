#pragma once
// What the launcher writes into the run directory and reads from it while ranks are watched: in the
// background, so that a file system that hangs hides no death and no signal.

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/background.h"
#include "monitoring/incident.h"
#include "monitoring/run_files.h"

namespace contrail::launcher {

class RunRecord {
 public:
  // `fs` outlives the process's last thread.
  RunRecord(FileSystem& fs, monitor::RunDir run);

  // In the order of the calls. One that cannot be written is lost with a warning.
  void Append(const std::optional<monitor::Incident>& incident);

  // What ranks noted and ended no attempt (skipped steps, damaged checkpoints), as far as it has
  // been read and was not returned yet. Read anew at most once a second; `all` waits a little for
  // what is there by now.
  std::vector<monitor::Incident> NewNotes(int attempt, int ranks, double now, bool all = false);

  // What was replaced (monitoring/replaced.h) since the last answer, "samples=3 newest=...": at
  // once for the first, then at most once a minute. Reads what has been appended, in the
  // background.
  std::optional<std::string> NewReplaced(double now);

  // Claims the first free attempt number from `attempt` on.
  std::future<int> Claim(int attempt, const monitor::Lease& self);

  // The step that a restart goes on from, 0 = none; nothing where that cannot be told within two
  // seconds.
  std::optional<uint64_t> NewestCommitted();
  // How many committed steps there are; 0 where that cannot be told.
  int CommittedSteps();
  // Of the part before a resume, as it was at the start.
  const std::optional<monitor::Summary>& before() const { return before_; }
  // Places of the order, in the steps up to this one, whose samples were replaced; 0 where that
  // cannot be told.
  uint64_t Replaced(uint64_t step);
  // Lines of incidents.jsonl.
  int Incidents();
  void Write(const monitor::Summary& summary);

  // Removes what starts of earlier attempts left behind when they were killed.
  void TidyUp();

 private:
  struct Notes;
  struct Appended;

  FileSystem& fs_;
  const monitor::RunDir run_;
  const std::optional<monitor::Summary> before_;
  const std::shared_ptr<Notes> notes_;  // shared with the thread that reads
  const std::shared_ptr<Appended> replaced_;
  double notes_asked_ = 0;
  double replaced_asked_ = 0;
  double replaced_told_ = 0;
  Background files_;
};

}  // namespace contrail::launcher
