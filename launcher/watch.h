#pragma once
// The ranks of one attempt on this node, as their progress words and the kernel show them.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/hang.h"
#include "launcher/process.h"
#include "monitoring/end_record.h"
#include "monitoring/progress_word.h"

namespace contrail::launcher {

// The job as of one look.
struct JobView {
  double now = 0;               // CLOCK_MONOTONIC of the look
  std::vector<RankView> ranks;  // those that have shown up, by rank
  bool up = false;              // all that are expected on this node have shown up
  bool training = false;        // ... and came to their steps (or are past them)
  uint64_t step = 0;            // last step any of them finished in this attempt
  uint64_t total_steps = 0;
  uint64_t committed_step = 0;  // newest checkpoint committed by this attempt
  double loss = 0;
  double samples_per_second = 0;
  uint64_t base_step = 0;      // where the attempt began to train
  uint64_t first_step = 0;     // the first step the attempt was seen to have trained; 0 = none yet
  double first_step_time = 0;  // CLOCK_MONOTONIC of that look
};

class Watch {
 public:
  // Makes the board. `expected`: ranks on this node; 0 where that is not known (several nodes),
  // then those that show up are all. Throws EnvironmentError E-PROGRESS.
  Watch(std::string board_path, int ranks, int expected);
  ~Watch();  // removes the board

  // Reads every word. A rank is `exited` once its process is gone.
  const JobView& Look(double now);
  const JobView& view() const { return view_; }

  // Descriptors that become readable when a rank dies.
  std::vector<int> Descriptors() const;
  // nullopt where it is not known.
  std::optional<int> ExitStatus(int rank) const;
  // What the rank said before it ended; nothing before that.
  const std::optional<monitor::EndRecord>& LastWords(int rank) const;
  void KillAll() const;

 private:
  struct Known {
    int word = -1;
    int pid = 0;
    bool trusted = false;  // `process` is the rank's
    PidFd process;
    bool exited = false;
    std::optional<monitor::EndRecord> said;
  };
  void Meet(Known& known, int pid, uint64_t pid_namespace) const;
  void Show(const Known& known, bool* training);

  const std::string path_;
  const int expected_;
  const uint64_t pid_namespace_;
  std::unique_ptr<monitor::ProgressBoard> board_;
  std::vector<Known> known_;           // by rank
  std::optional<uint64_t> base_step_;  // where the attempt began to train
  JobView view_;
};

}  // namespace contrail::launcher
