#include "launcher/go_back.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/newest.h"
#include "common/error.h"
#include "common/log.h"

namespace contrail::launcher {
namespace {

using Moves = std::vector<std::pair<std::string, std::string>>;  // from, to

// Steps above `step`, damaged ones too, newest first.
std::vector<ckpt::StepEntry> Newer(const FileSystem& fs, const monitor::RunDir& run,
                                   uint64_t step) {
  std::vector<ckpt::StepEntry> damaged;
  std::vector<ckpt::StepEntry> steps = ckpt::ListSteps(fs, run.Checkpoints(), &damaged);
  steps.insert(steps.end(), damaged.begin(), damaged.end());
  std::erase_if(steps, [step](const ckpt::StepEntry& entry) { return entry.step <= step; });
  std::sort(steps.begin(), steps.end(),
            [](const auto& a, const auto& b) { return a.step > b.step; });
  return steps;
}

void SetAside(FileSystem& fs, const monitor::RunDir& run, const ckpt::StepEntry& entry,
              const std::string& aside, Moves& moved) {
  const std::string to = aside + entry.dir.substr(entry.dir.rfind('/'));
  fs.MakeDirs(aside);
  fs.Rename(entry.dir, to);
  fs.SyncDir(aside);
  fs.SyncDir(run.Checkpoints());
  LogInfo("contrail: set aside step=" + std::to_string(entry.step) + " to=" + aside);
  moved.emplace_back(entry.dir, to);
}

}  // namespace

ckpt::StepEntry FindStep(const FileSystem& fs, const monitor::RunDir& run, uint64_t step) {
  std::string there;
  for (const ckpt::StepEntry& entry : ckpt::ListSteps(fs, run.Checkpoints())) {
    if (entry.step == step && entry.unreadable != 0) throw ckpt::WhyUnreadable(entry);
    if (entry.step == step) return entry;
    there += (there.empty() ? "" : ", ") + std::to_string(entry.step);
  }
  throw UserError("E-CKPT-MISSING", "--from",
                  "no committed step " + std::to_string(step) + " in " + run.Checkpoints(),
                  there.empty() ? "it holds none" : "committed: " + there);
}

std::function<void()> GoBackTo(FileSystem& fs, const monitor::RunDir& run, uint64_t step,
                               int attempt) {
  const ckpt::StepEntry found = FindStep(fs, run, step);
  // First: should this program be killed among the renames, no step that moved counts as lost.
  const std::string newest = run.Checkpoints() + "/" + ckpt::kNewestName;
  const std::optional<std::string> named = fs.ReadIfThere(newest);
  ckpt::GoOnFrom(fs, run.Checkpoints(), found);
  const std::string aside = run.root + "/superseded/attempt_" + std::to_string(attempt);
  Moves moved;
  // A step that is gone may bring an older copy of it to light: until there is none.
  for (auto newer = Newer(fs, run, step); !newer.empty(); newer = Newer(fs, run, step)) {
    for (const ckpt::StepEntry& entry : newer) SetAside(fs, run, entry, aside, moved);
  }
  return [&fs, run, moved, newest, named] {
    for (auto move = moved.rbegin(); move != moved.rend(); ++move) {
      fs.Rename(move->second, move->first);
    }
    if (!moved.empty()) fs.SyncDir(run.Checkpoints());
    if (named) {
      ckpt::ReplaceNewest(fs, run.Checkpoints(), *named);
    } else {
      fs.RemoveFile(newest);
    }
  };
}

}  // namespace contrail::launcher
