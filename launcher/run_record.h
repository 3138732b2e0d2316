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
  // Whether something was committed since the run went back to `step`: newest.json names another
  // one. Nothing where that cannot be told.
  std::optional<bool> WentOnFrom(uint64_t step);
  // How many committed steps there are; 0 where that cannot be told.
  int CommittedSteps();
  // Of the part before a resume, as it was at the start.
  const std::optional<monitor::Summary>& before() const { return before_; }
  // Places of the order, in the steps up to this one, whose samples were replaced; 0 where that
  // cannot be told.
  uint64_t Replaced(uint64_t step);
  // Lines of incidents.jsonl.
  int Incidents();
  // Waits at most a minute, and says where it could not be written.
  void Write(const monitor::Summary& summary);
  // The same without waiting: another one follows.
  void WriteMeanwhile(const monitor::Summary& summary);
  // RUN/eval/zero_shot_step_N.json. Throws EnvironmentError where it cannot be written within a
  // minute.
  void WriteEvaluation(uint64_t step, const std::string& text);

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
