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
//
// A save that stands still for `stall_seconds` on some rank is given up by all of them at the same
// step: told with rank and host, counted as failed, and begun anew in another directory. Threads
// that hang in the file system are left behind with all they use; nothing ever waits for them.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/save.h"
#include "monitoring/recorder.h"
#include "worker/comm/comm.h"
#include "worker/committer.h"
#include "worker/fence.h"
#include "worker/pulse.h"

namespace contrail::worker {

class Saver {
 public:
  struct Options {
    Writer writer;
    uint64_t every_steps = 0;
    double every_minutes = 0;
    int keep_last = 3;
    uint64_t resumed_step = 0;  // committed already
    ckpt::Layout layout;
    std::vector<std::vector<ckpt::Range>> ranges_of_rank;
    // Collective, as a save begins: the arrays that are no parameters. Empty: the model has none.
    std::function<std::vector<ckpt::NamedArray>()> take_buffers = {};
    // Called on the root's background thread before a step becomes visible. Owns what it uses: the
    // thread may have to be left behind.
    std::function<void()> before_commit = {};
    double stall_seconds = 300;
    // Called where a running save is found to have moved: payload bytes, operations of a commit.
    std::function<void(uint64_t amount)> moved = {};
  };
  using TakeSnapshot = std::function<std::shared_ptr<const ckpt::Snapshot>()>;
  using OnCommit = std::function<void(const monitor::CheckpointRecord&)>;

  // Collective. `on_commit` is called on every rank's main thread; the record is whole on the root
  // only. `fs` must outlive the process' threads.
  Saver(FileSystem& fs, Comm& comm, Options options, OnCommit on_commit);
  ~Saver();  // waits a second for a commit, and for nothing else

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
  bool is_root() const { return comm_.rank() == 0; }
  bool busy() const { return job_ != nullptr || commit_outstanding_; }
  void Begin(const ckpt::RunState& state, const TakeSnapshot& snapshot);
  SaveStatus Status();
  bool Moves(uint64_t mark);
  int Settle();
  void CollectReports();
  void TakeCommitResult();
  void HearOfCommit();
  void GiveUp(int stalled_rank);
  void GiveBackSpace();
  void Committed(const monitor::CheckpointRecord& record);
  void Failed(const std::string& line);
  void GiveUpAfterTwo();

  FileSystem& fs_;
  Comm& comm_;
  const Options options_;
  const OnCommit on_commit_;
  const std::vector<std::string> hosts_;  // rank order

  std::unique_ptr<ckpt::SaveJob> job_;
  ckpt::SavePlan place_;  // of the running save: step and directory alone
  uint64_t mark_ = 0;     // how far it was when it moved last
  double moved_at_ = 0;   // monotonic
  double stall_ = 0;      // seconds that beginning the running save took
  double last_begin_;     // monotonic; rank 0's clock decides every_minutes
  bool due_ = false;
  bool commit_outstanding_ = false;    // as far as this rank has been told
  std::unique_ptr<Committer> commit_;  // root
  bool first_commit_told_ = false;     // root: first_commit.json is there
  uint64_t committed_step_;            // root's word
  int failed_ = 0;                     // saves failed in a row; root's word
  std::string last_error_;             // of the last save that failed; root's word
  std::string parent_;                 // root: lineage of what was committed last
};

}  // namespace contrail::worker
