#pragma once
// Finding, checking and reading committed steps, at any rank count.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/shard_reader.h"
#include "checkpoint/state.h"
#include "common/error.h"
#include "common/file_system.h"

namespace contrail::ckpt {

struct StepEntry {
  uint64_t step = 0;
  std::string dir;          // .../step_00001200
  std::string damage = {};  // or the whole line that says why it cannot be used
  int unreadable = 0;       // or errno: what reading it failed with, so that none of it can be told
};

// What to throw where a step that could not be read is what somebody needs.
IoError WhyUnreadable(const StepEntry& entry);

// Committed steps (those with a whole COMMIT of any version), newest first, each step once.
// Uncommitted directories are not listed. An empty or missing directory gives an empty list. Never
// throws for what a crash can leave, but E-IO where checkpoints_dir cannot be listed. Should a
// crash have come between the two renames of a superseding commit, the step's superseded directory
// is listed in its place.
//
// A step whose COMMIT cannot be read is listed with that (`unreadable`): one that cannot be seen
// for a moment is not gone, and one in a corner that nobody needs holds up nothing.
//
// Directories with a step's name and no whole COMMIT go to `damaged`: no crash leaves such a one,
// COMMIT is durable before the directory gets its name.
std::vector<StepEntry> ListSteps(const FileSystem& fs, const std::string& checkpoints_dir,
                                 std::vector<StepEntry>* damaged = nullptr);

// Whether an error of reading a step says that the step itself is damaged: a file is there and
// wrong, or is missing beside a whole COMMIT. Any other error (E-IO, out of memory ...) says only
// that it could not be read now: whoever goes back to an older step because of one loses work.
bool IsDamage(const Error& error);

// The first of `steps`, as ResumeOrder (newest.h) gives them, that `use` can use; nullopt: none.
// One that is damaged, or that `use` throws damage of (IsDamage), goes to `passed_over` with its
// damage, and the next one is tried. Throws what else `use` throws, and WhyUnreadable where a step
// is reached that could not be read: to use an older one in its place would lose work.
using OfStep = std::function<void(const StepEntry& step)>;
std::optional<StepEntry> FirstUsable(const std::vector<StepEntry>& steps, const OfStep& use = {},
                                     const OfStep& passed_over = {});

// One committed step. Reading never goes through index.h5.
class StepReader {
 public:
  // `dir`: a step directory, or a run directory / checkpoints directory (the step that a
  // resume would go on from).
  // Throws UserError E-CKPT-MISSING, E-CKPT-UNCOMMITTED, EnvironmentError E-CKPT-CORRUPT
  // (missing or resized shard, damaged buffers.h5, bad COMMIT; names the file).
  static std::unique_ptr<StepReader> Open(const FileSystem& fs, const std::string& dir);
  // The same step on another rank, from header(), without reading COMMIT or buffers.h5 again; a
  // shard is checked to be there and of the right size when it is first read. Throws
  // E-CKPT-CORRUPT.
  static std::unique_ptr<StepReader> FromHeader(const FileSystem& fs, const std::string& header);
  virtual ~StepReader() = default;
  virtual void Tell(OnRead on_read) = 0;  // before the first Read
  virtual const std::string& dir() const = 0;
  virtual const RunState& state() const = 0;
  virtual const Layout& layout() const = 0;
  virtual const std::string& lineage() const = 0;  // hash of the committed contents
  // Running statistics, checksum verified when the step was opened; {} for models without.
  virtual const std::vector<NamedArray>& buffers() const = 0;
  // Only kind 0 can be read: an imported model, not a place to resume from.
  virtual bool weights_only() const = 0;
  // Elements [range.begin, range.end) of kind k into out, every byte verified (E-CKPT-CORRUPT names
  // file, dataset and block). Reads little more than is asked for, see shard_reader.h. UserError
  // E-CKPT-WEIGHTS-ONLY where the step does not hold the kind. Any number of threads.
  virtual void Read(int kind, Range range, float* out) const = 0;
  virtual uint64_t bytes() const = 0;
  // All that is not payload, for FromHeader: a root reads it once for all ranks.
  virtual const std::string& header() const = 0;
};

// Reads every byte (payload, HDF5 structures, buffers.h5, index.h5) and checks every checksum.
// Throws the first problem.
void VerifyStep(const FileSystem& fs, const std::string& dir);

// The newest step that can be used: `dir` as in StepReader::Open, steps in the order of ResumeOrder
// (newest.h). A damaged step is passed over and the one before it tried; each one passed over adds
// its message to `problems`. With `verify` every byte is checked first (VerifyStep). nullptr where
// there is no usable step. Throws E-IO where a step cannot be read, E-CKPT-LOST, and E-CKPT-VERSION
// where a newer program wrote one (falling back would lose its steps silently).
std::unique_ptr<StepReader> OpenNewestUsable(const FileSystem& fs, const std::string& dir,
                                             bool verify, std::vector<std::string>* problems);

// RUN, RUN/checkpoints -> RUN/checkpoints. The directory with the steps, where `dir` is not a step.
std::string CheckpointsDir(const FileSystem& fs, const std::string& dir);

}  // namespace contrail::ckpt
