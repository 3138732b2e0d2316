#include "checkpoint/prune.h"

#include <algorithm>
#include <set>

#include "checkpoint/format.h"
#include "checkpoint/lineage.h"
#include "checkpoint/newest.h"
#include "common/error.h"

namespace contrail::ckpt {
namespace {

enum class Use { kUsable, kDamaged, kOfNewerProgram };

// Throws E-IO where it cannot be told.
Use UseOf(const FileSystem& fs, const StepEntry& entry) {
  if (entry.unreadable != 0) throw WhyUnreadable(entry);
  try {
    StepReader::Open(fs, entry.dir);
    return Use::kUsable;
  } catch (const Error& error) {
    if (error.id() == "E-CKPT-VERSION") return Use::kOfNewerProgram;
    if (!IsDamage(error)) throw;
    return Use::kDamaged;
  }
}

// The step a name of any form speaks of.
uint64_t StepOf(const std::string& name) {
  if (const auto step = ParseStepName(name)) return *step;
  return ParseSupersededName(name)->step;
}

bool IsDeleting(const std::string& name) {
  return name.starts_with("step_") && name.ends_with(kDeletingSuffix);
}

size_t IndexOf(const std::vector<StepEntry>& steps, const std::string& dir) {
  const auto found = std::find_if(steps.begin(), steps.end(),
                                  [&](const StepEntry& entry) { return entry.dir == dir; });
  return static_cast<size_t>(found - steps.begin());
}

// The directory of what a resume would start from, "" where there is nothing.
std::string DefaultHead(const FileSystem& fs, const std::string& checkpoints_dir) {
  const auto step = FirstUsable(ResumeOrder(fs, checkpoints_dir), [&fs](const StepEntry& entry) {
    try {
      StepReader::Open(fs, entry.dir);
    } catch (const Error& error) {
      if (error.id() != "E-CKPT-VERSION") throw;
    }
  });
  return step ? step->dir : "";
}

// Which steps stay, by directory.
class Kept {
 public:
  Kept(const FileSystem& fs, const std::string& checkpoints_dir, const Retention& retention)
      : fs_(fs), places_(std::max(1, retention.keep_last)) {
    const std::vector<StepEntry> steps = ListSteps(fs, checkpoints_dir);
    const std::string head =
        retention.head.empty() ? DefaultHead(fs, checkpoints_dir) : retention.head;
    const size_t first = IndexOf(steps, head);
    if (first == steps.size()) return;
    std::vector<bool> own(steps.size());
    for (const size_t i : Lineages(fs, steps).Back(first)) {
      own[i] = true;
      Offer(steps[i]);
    }
    for (const bool above : {false, true})
      for (size_t i = 0; i < steps.size(); ++i)
        if (!own[i] && (steps[i].step > steps[first].step) == above) Offer(steps[i]);
    if (const auto newest = ReadNewest(fs, checkpoints_dir))
      dirs_.insert(checkpoints_dir + "/" + newest->dir);
  }

  // Why a step stays that might have gone, a line each.
  const std::vector<std::string>& problems() const { return problems_; }
  bool Has(const std::string& dir) const { return dirs_.count(dir) > 0; }
  // Whether a step that is not kept goes; `step` is the number its name speaks of.
  bool Goes(const std::string& dir, uint64_t step) const {
    return usable_.count(dir) > 0 || (filled_ > 0 && step < oldest_);
  }

 private:
  void Offer(const StepEntry& entry) {
    try {
      const Use use = UseOf(fs_, entry);
      if (use == Use::kOfNewerProgram) dirs_.insert(entry.dir);  // not ours to judge
      if (use != Use::kUsable) return;
    } catch (const IoError& error) {
      dirs_.insert(entry.dir);
      problems_.push_back(entry.dir + " stays, it cannot be told what it is: " + error.what());
      return;
    }
    usable_.insert(entry.dir);
    if (filled_ == places_) return;
    ++filled_;
    dirs_.insert(entry.dir);
    oldest_ = std::min(oldest_, entry.step);
  }

  const FileSystem& fs_;
  const int places_;
  int filled_ = 0;
  uint64_t oldest_ = UINT64_MAX;  // of the kept steps
  std::set<std::string> dirs_;
  std::set<std::string> usable_;
  std::vector<std::string> problems_;
};

// A name for a directory that is about to be emptied; one that could not be emptied has taken
// others.
std::string FreeDeletingName(const FileSystem& fs, const std::string& dir) {
  std::string name = dir + kDeletingSuffix;
  for (int k = 1; fs.KindOf(name) != EntryKind::kNone; ++k)
    name = dir + "." + std::to_string(k) + kDeletingSuffix;
  return name;
}

// Emptying a directory is safe only once its new name is durable: a crash could otherwise bring the
// old name back over half the files. That goes for names left by an interrupted Remove, too.
Pruned Remove(FileSystem& fs, const std::string& checkpoints_dir,
              const std::vector<std::string>& doomed) {
  Pruned pruned;
  const auto attempt = [&](const std::string& dir, const auto& work) {
    try {
      work();
      return true;
    } catch (const Error& error) {
      pruned.problems.push_back(dir + " could not be removed: " + error.what());
      return false;
    }
  };
  const auto empty = [&](const std::vector<std::pair<std::string, std::string>>& hidden) {
    if (hidden.empty()) return;
    fs.SyncDir(checkpoints_dir);
    for (const auto& [dir, name] : hidden)
      if (attempt(dir, [&, path = name] { fs.RemoveTree(path); })) pruned.removed.push_back(dir);
  };
  std::vector<std::pair<std::string, std::string>> old, hidden;  // what it was called, what it is
  for (const std::string& dir : doomed)
    if (dir.ends_with(kDeletingSuffix)) old.emplace_back(dir, dir);
  empty(old);  // first: room for what is still to come
  for (const std::string& dir : doomed) {
    if (dir.ends_with(kDeletingSuffix)) continue;
    attempt(dir, [&] {
      const std::string name = FreeDeletingName(fs, dir);
      fs.Rename(dir, name);
      hidden.emplace_back(dir, name);
    });
  }
  empty(hidden);
  return pruned;
}

}  // namespace

Pruned PlanPrune(const FileSystem& fs, const std::string& checkpoints_dir,
                 const Retention& retention) {
  const Kept kept(fs, checkpoints_dir, retention);
  Pruned plan{{}, kept.problems()};
  for (const std::string& name : fs.List(checkpoints_dir)) {
    const std::string dir = checkpoints_dir + "/" + name;
    if (kept.Has(dir)) continue;
    if (IsDeleting(name)) {
      plan.removed.push_back(dir);
    } else if (const auto writer = ParseTemporaryName(name)) {
      if (writer->attempt < retention.attempt) plan.removed.push_back(dir);
    } else if (ParseStepName(name) || ParseSupersededName(name)) {
      if (kept.Goes(dir, StepOf(name))) plan.removed.push_back(dir);
    }
  }
  return plan;
}

Pruned Prune(FileSystem& fs, const std::string& checkpoints_dir, const Retention& retention) {
  Pruned plan = PlanPrune(fs, checkpoints_dir, retention);
  Pruned pruned = Remove(fs, checkpoints_dir, plan.removed);
  pruned.problems.insert(pruned.problems.begin(), plan.problems.begin(), plan.problems.end());
  return pruned;
}

Pruned RemoveLeftovers(FileSystem& fs, const std::string& checkpoints_dir, uint64_t attempt,
                       const std::string& owner) {
  std::vector<std::string> doomed;
  for (const std::string& name : fs.List(checkpoints_dir)) {
    const auto writer = ParseTemporaryName(name);
    const bool dead = writer && (writer->attempt < attempt ||
                                 (writer->attempt == attempt && writer->owner != owner));
    if (dead || IsDeleting(name) || name.starts_with(kNewestTemporary)) {
      doomed.push_back(checkpoints_dir + "/" + name);
    }
  }
  return Remove(fs, checkpoints_dir, doomed);
}

}  // namespace contrail::ckpt
