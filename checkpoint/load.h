#pragma once
// Finding, checking and reading committed steps, at any rank count.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/state.h"
#include "common/file_system.h"

namespace contrail::ckpt {

struct StepEntry {
  uint64_t step = 0;
  std::string dir;  // .../step_00001200
};

// Committed steps (those with a COMMIT that parses), newest first. Uncommitted directories are
// not listed. An empty or missing directory gives an empty list.
std::vector<StepEntry> ListSteps(const FileSystem& fs, const std::string& checkpoints_dir);

// One committed step. Reading never goes through index.h5.
class StepReader {
 public:
  // `dir`: a step directory, or a run directory / checkpoints directory (its newest step).
  // Throws UserError E-CKPT-MISSING, E-CKPT-UNCOMMITTED, EnvironmentError E-CKPT-CORRUPT
  // (missing or resized shard, bad COMMIT; names the file).
  static std::unique_ptr<StepReader> Open(const FileSystem& fs, const std::string& dir);
  virtual ~StepReader() = default;
  virtual const std::string& dir() const = 0;
  virtual const RunState& state() const = 0;
  virtual const Layout& layout() const = 0;
  virtual const std::string& lineage() const = 0;  // hash of the committed contents
  // Elements [range.begin, range.end) of kind k into out; the checksum of every touched block is
  // verified (E-CKPT-CORRUPT names file, dataset and block).
  virtual void Read(int kind, Range range, float* out) const = 0;
  virtual uint64_t bytes() const = 0;
};

// Reads every byte and checks every checksum. Throws the first problem.
void VerifyStep(const FileSystem& fs, const std::string& dir);

// Keeps the newest `keep_last` committed steps; uncommitted leftovers of attempts before
// `attempt` go too. Never removes `protect` (the step a resume is reading). Returns removed dirs.
std::vector<std::string> Prune(FileSystem& fs, const std::string& checkpoints_dir, int keep_last,
                               uint64_t attempt, const std::string& protect);

}  // namespace contrail::ckpt
