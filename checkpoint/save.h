#pragma once
// Saving a step. Each rank writes its own bytes; the root commits when all have reported.
//
//   every rank:  SaveJob job(...)          the job holds the snapshot, training goes on
//                while (!job.finished()) train...
//                report = job.Report()     rethrows the writer's error
//                job.Abandon()             instead, where bytes_written() stands still too long
//   root:        CommitStep(reports)       buffers.h5, a small index.h5, COMMIT, renames, fsyncs
//
// Order of commit (docs/checkpoint-format.md): payload -> fsync -> close -> fsync(dir) on each
// node, report, then buffers.h5, index.h5, COMMIT.tmp -> fsync -> rename -> fsync(dir) -> rename
// the step directory -> fsync(parent).

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/snapshot.h"
#include "checkpoint/state.h"
#include "common/file_system.h"

namespace contrail::ckpt {

struct SavePlan {
  std::string checkpoints_dir;  // RUN/checkpoints
  RunState state;
  Layout layout;
  Topology topology;
  std::vector<std::vector<Range>> ranges_of_rank;  // what every rank owns, rank order
  // The model's arrays that are no parameters. Wanted on the root only, whose CommitStep writes
  // them; running statistics are the mean over the ranks.
  std::vector<NamedArray> buffers;
  // An imported model: no moments. A run cannot resume from it, model.init can.
  bool weights_only = false;
  // Which try at this step within this attempt: bytes of a failed save are never written over, a
  // new try has a new temporary directory. The same on every rank.
  uint64_t retry = 0;
  // The owner token of whoever writes (docs/run-directory.md), part of the temporary directory's
  // name: two that take themselves for the same attempt never write into one directory.
  std::string owner = {};
};

// The directory that this try is written into.
std::string TemporaryDir(const SavePlan& plan);

// Writes this rank's part of the node's shard on a background thread. All ranks of a node build
// the same HDF5 skeleton in memory, so they know the offsets without a message; the first rank of
// the node also writes the skeleton's metadata.
class SaveJob {
 public:
  // `fs` must live as long as the thread does: after Abandon that may be the process' end.
  // Nobody may change the snapshot while the job runs; the job lets go of it when it has ended.
  SaveJob(FileSystem& fs, SavePlan plan, std::shared_ptr<const Snapshot> snapshot);
  SaveJob(FileSystem& fs, SavePlan plan, Snapshot snapshot);
  ~SaveJob();             // waits for the thread, unless it was abandoned
  bool finished() const;  // cheap; true also when it failed
  bool failed() const;
  // Waits; then this rank's report (opaque text with checksums). Rethrows the writer's error.
  std::string Report();
  const SavePlan& plan() const;
  uint64_t bytes() const;
  // Payload bytes that have left for the disk so far. Any thread, cheap; what stands still for long
  // while the job is not finished is stuck in the file system.
  uint64_t bytes_written() const;
  double write_seconds() const;  // of the thread's work: skeleton, checksums, writes, fsyncs
  // Lets the thread go with all it needs (plan, snapshot, open file): it stops at the next block it
  // can reach, if ever, and nobody waits for it. There is no report any more. The bytes are worth
  // nothing; a new try goes to another directory (SavePlan::retry).
  void Abandon();

 private:
  struct State;
  std::shared_ptr<State> state_;  // the thread has a share, so that it may outlive this object
  std::thread thread_;
};

// Root only: makes the step visible. `reports` in rank order. Returns the step directory, and in
// `lineage` the hash of its contents.
// If the step is already committed with the same lineage and still verifies, ours is removed and
// that one kept; otherwise the old one is moved aside (step_N.superseded-K), never merged.
// On failure it throws (E-IO, E-CKPT-HDF5) and has removed what it can of the temporary directory:
// the step does not exist, earlier steps are as they were.
// `before_publish` is called when all but the renames is done, which may be long after the call,
// and throws where the step must not become visible any more.
std::string CommitStep(FileSystem& fs, const SavePlan& plan,
                       const std::vector<std::string>& reports, std::string* lineage = nullptr,
                       const std::function<void()>& before_publish = {});

// Removes this step's temporary directory after a failure, best effort.
void AbandonStep(FileSystem& fs, const SavePlan& plan);

}  // namespace contrail::ckpt
