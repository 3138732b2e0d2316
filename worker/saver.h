#pragma once
// Checkpoints of a running job: when, how, and what happens when one fails.
//
// All ranks call the same functions at the same steps. A save goes through three states, and
// every rank learns of each change in a pulse:
//
//   writing     each rank's SaveJob writes its snapshot in the background; training goes on
//   committing  the reports are with the root, whose background thread makes the step visible
//   idle
//
// A failed save is announced at once and repeated under the next step's name; two in a row end
// the job (E-CKPT-SAVE). While a save runs, at most one more is remembered as due: training never
// waits for the disk except at the end.

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/save.h"
#include "monitoring/recorder.h"
#include "monitoring/run_dir.h"
#include "worker/comm/comm.h"
#include "worker/pulse.h"

namespace contrail::worker {

class Saver {
 public:
  struct Options {
    monitor::RunDir run;
    int attempt = 1;
    uint64_t every_steps = 0;
    double every_minutes = 0;
    int keep_last = 3;
    uint64_t resumed_step = 0;  // committed already
    ckpt::Layout layout;
    std::vector<std::vector<ckpt::Range>> ranges_of_rank;
    // Collective, as a save begins: the arrays that are no parameters. Empty: the model has none.
    std::function<std::vector<ckpt::NamedArray>()> take_buffers = {};
    // Called on the root's background thread before a step becomes visible.
    std::function<void()> before_commit;
  };
  using TakeSnapshot = std::function<std::shared_ptr<const ckpt::Snapshot>()>;
  using OnCommit = std::function<void(const monitor::CheckpointRecord&)>;

  // `on_commit` is called on every rank's main thread; the record is whole on the root only.
  Saver(FileSystem& fs, Comm& comm, Options options, OnCommit on_commit);
  ~Saver();

  // What this rank puts into the pulse.
  void Fill(Pulse& pulse);

  // After a step: takes note of the verdict, moves a running save on, and begins one where it is
  // due. Returns the seconds it stalled training. Throws AgreedError E-CKPT-SAVE.
  double AfterStep(const Verdict& verdict, const ckpt::RunState& state,
                   const TakeSnapshot& snapshot);

  // Waits until `state.step` is committed; saves it where that has not begun yet.
  void Finish(const ckpt::RunState& state, const TakeSnapshot& snapshot);

  uint64_t committed_step() const { return committed_step_; }

 private:
  struct CommitResult {
    std::string error;  // whole line; empty = committed
    monitor::CheckpointRecord record;
  };

  bool is_root() const { return comm_.rank() == 0; }
  bool busy() const { return job_ != nullptr || commit_outstanding_; }
  void Begin(const ckpt::RunState& state, const TakeSnapshot& snapshot);
  void CollectReports();
  CommitResult Commit(const ckpt::SavePlan& plan, const std::vector<std::string>& reports,
                      monitor::CheckpointRecord record);
  void TakeCommitResult();
  void WaitForCommit();
  void Committed(const monitor::CheckpointRecord& record);
  void Failed(const std::string& line);
  void GiveUpAfterTwo();

  FileSystem& fs_;
  Comm& comm_;
  const Options options_;
  const OnCommit on_commit_;

  std::unique_ptr<ckpt::SaveJob> job_;
  double stall_ = 0;   // seconds that beginning the running save took
  double last_begin_;  // monotonic; rank 0's clock decides every_minutes
  bool due_ = false;
  bool commit_outstanding_ = false;   // as far as this rank has been told
  std::future<CommitResult> commit_;  // root
  uint64_t committed_step_;           // root's word
  int failed_ = 0;                    // saves failed in a row; root's word
  std::string last_error_;            // root
};

}  // namespace contrail::worker
