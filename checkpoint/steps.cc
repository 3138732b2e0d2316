// Which steps there are, and which of them stay.
#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "checkpoint/format.h"
#include "checkpoint/load.h"
#include "common/error.h"

namespace contrail::ckpt {
namespace {

// Throws E-IO where it cannot be told.
bool IsCommitted(const FileSystem& fs, const std::string& dir) {
  const std::optional<std::string> text = fs.ReadIfThere(dir + "/" + kCommitName);
  return text && ManifestIsWhole(*text);
}

bool CanOpen(const FileSystem& fs, const std::string& dir) {
  try {
    StepReader::Open(fs, dir);
    return true;
  } catch (const Error& error) {
    return error.id() == "E-CKPT-VERSION";  // not ours to judge
  }
}

// The step a name of any form speaks of.
uint64_t StepOf(const std::string& name) {
  if (const auto step = ParseStepName(name)) return *step;
  return ParseSupersededName(name)->step;
}

}  // namespace

std::vector<StepEntry> ListSteps(const FileSystem& fs, const std::string& checkpoints_dir) {
  std::map<uint64_t, std::string, std::greater<>> found;
  std::map<uint64_t, std::map<uint64_t, std::string>> superseded;  // step -> k -> directory
  std::set<uint64_t> present;
  for (const std::string& name : fs.List(checkpoints_dir)) {
    const std::string dir = checkpoints_dir + "/" + name;
    if (const auto step = ParseStepName(name)) {
      present.insert(*step);
      if (IsCommitted(fs, dir)) found[*step] = dir;
    } else if (const auto old = ParseSupersededName(name)) {
      superseded[old->step][old->k] = dir;
    }
  }
  for (const auto& [step, dirs] : superseded) {
    if (present.count(step) > 0) continue;
    for (auto dir = dirs.rbegin(); dir != dirs.rend(); ++dir)
      if (IsCommitted(fs, dir->second)) {
        found[step] = dir->second;
        break;
      }
  }
  std::vector<StepEntry> steps;
  for (const auto& [step, dir] : found) steps.push_back({step, dir});
  return steps;
}

std::unique_ptr<StepReader> OpenNewestUsable(const FileSystem& fs, const std::string& dir,
                                             bool verify, std::vector<std::string>* problems) {
  std::vector<std::string> candidates;
  if (fs.Exists(dir + "/" + kCommitName)) {
    candidates.push_back(dir);
  } else {
    const std::string checkpoints_dir = CheckpointsDir(fs, dir);
    for (const StepEntry& entry : ListSteps(fs, checkpoints_dir)) candidates.push_back(entry.dir);
    // Under a final name a COMMIT must be whole: say so where it is not.
    for (const std::string& name : fs.List(checkpoints_dir)) {
      const std::string path = checkpoints_dir + "/" + name;
      if (ParseStepName(name) && !IsCommitted(fs, path))
        problems->push_back("E-CKPT-CORRUPT: " + path + "/" + kCommitName +
                            ": missing or torn; the step is passed over");
    }
  }
  for (const std::string& candidate : candidates) {
    try {
      if (verify) VerifyStep(fs, candidate);
      return StepReader::Open(fs, candidate);
    } catch (const Error& error) {
      if (error.id() == "E-CKPT-VERSION") throw;
      problems->push_back(error.what());
    }
  }
  return nullptr;
}

std::vector<std::string> PlanPrune(const FileSystem& fs, const std::string& checkpoints_dir,
                                   int keep_last, uint64_t attempt, const std::string& protect) {
  std::set<std::string> kept;
  uint64_t oldest_kept = 0;
  for (const StepEntry& entry : ListSteps(fs, checkpoints_dir)) {
    if (kept.size() >= static_cast<size_t>(std::max(1, keep_last))) break;
    if (!CanOpen(fs, entry.dir)) continue;
    kept.insert(entry.dir);
    oldest_kept = entry.step;
  }
  std::string protected_dir = protect;
  while (protected_dir.size() > 1 && protected_dir.back() == '/') protected_dir.pop_back();
  std::vector<std::string> doomed;
  for (const std::string& name : fs.List(checkpoints_dir)) {
    const std::string dir = checkpoints_dir + "/" + name;
    if (kept.count(dir) > 0 || dir == protected_dir) continue;
    if (name.starts_with("step_") && name.ends_with(kDeletingSuffix)) {
      doomed.push_back(dir);
    } else if (const auto writer = ParseTemporaryName(name)) {
      if (*writer < attempt) doomed.push_back(dir);
    } else if (ParseStepName(name) || ParseSupersededName(name)) {
      // Newer ones that cannot be opened stay: someone may want to look at them.
      if (!kept.empty() && StepOf(name) < oldest_kept) doomed.push_back(dir);
    }
  }
  return doomed;
}

std::vector<std::string> Prune(FileSystem& fs, const std::string& checkpoints_dir, int keep_last,
                               uint64_t attempt, const std::string& protect) {
  const std::vector<std::string> doomed =
      PlanPrune(fs, checkpoints_dir, keep_last, attempt, protect);
  if (doomed.empty()) return doomed;
  // Emptying a directory is safe only once its new name is durable: a crash could otherwise bring
  // the old name back over half the files. That goes for names left by an interrupted Prune, too.
  std::vector<std::string> hidden;
  for (const std::string& dir : doomed)
    if (dir.ends_with(kDeletingSuffix)) hidden.push_back(dir);
  if (!hidden.empty()) fs.SyncDir(checkpoints_dir);
  for (const std::string& dir : hidden) fs.RemoveTree(dir);
  hidden.clear();
  for (const std::string& dir : doomed) {
    if (dir.ends_with(kDeletingSuffix)) continue;
    hidden.push_back(dir + kDeletingSuffix);
    fs.Rename(dir, hidden.back());
  }
  fs.SyncDir(checkpoints_dir);
  for (const std::string& dir : hidden) fs.RemoveTree(dir);
  return doomed;
}

}  // namespace contrail::ckpt
