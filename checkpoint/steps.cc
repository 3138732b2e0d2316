// Which steps there are, and which of them can be used.
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "checkpoint/format.h"
#include "checkpoint/load.h"
#include "checkpoint/newest.h"
#include "common/error.h"

namespace contrail::ckpt {
namespace {

// Fills in what is wrong with the step in entry.dir, as far as its COMMIT tells.
void Inspect(const FileSystem& fs, StepEntry& entry) {
  const std::string path = entry.dir + "/" + kCommitName;
  try {
    const std::optional<std::string> text = fs.ReadIfThere(path);
    if (!text) {
      entry.damage = "E-CKPT-CORRUPT: " + path + ": is missing";
    } else if (!ManifestIsWhole(*text)) {
      entry.damage = "E-CKPT-CORRUPT: " + path + ": torn or damaged";
    }
  } catch (const IoError& error) {
    entry.unreadable = error.number();
  }
}

// A link to an archive that is not mounted: the step is away, not damaged.
bool LeadsNowhere(const FileSystem& fs, const std::string& dir) {
  try {
    return fs.KindOf(dir) == EntryKind::kLink && !fs.Exists(dir);
  } catch (const IoError&) {
    return false;  // reading its COMMIT says why
  }
}

}  // namespace

bool IsDamage(const Error& error) { return error.id() == "E-CKPT-CORRUPT"; }

IoError WhyUnreadable(const StepEntry& entry) {
  return {entry.unreadable, entry.dir + "/" + kCommitName, "could not read"};
}

std::vector<StepEntry> ListSteps(const FileSystem& fs, const std::string& checkpoints_dir,
                                 std::vector<StepEntry>* damaged) {
  std::map<uint64_t, StepEntry, std::greater<>> found;
  std::map<uint64_t, std::map<uint64_t, std::string>> superseded;  // step -> k -> directory
  std::set<uint64_t> present;
  for (const std::string& name : fs.List(checkpoints_dir)) {
    const std::string dir = checkpoints_dir + "/" + name;
    if (const auto step = ParseStepName(name)) {
      if (LeadsNowhere(fs, dir)) continue;
      present.insert(*step);
      StepEntry entry = {*step, dir};
      Inspect(fs, entry);
      if (entry.damage.empty()) {
        found[*step] = entry;
      } else if (damaged != nullptr) {
        damaged->push_back(entry);
      }
    } else if (const auto old = ParseSupersededName(name)) {
      superseded[old->step][old->k] = dir;
    }
  }
  for (const auto& [step, dirs] : superseded) {
    if (present.count(step) > 0) continue;
    for (auto dir = dirs.rbegin(); dir != dirs.rend(); ++dir) {
      StepEntry entry = {step, dir->second};
      Inspect(fs, entry);
      if (!entry.damage.empty()) continue;
      found[step] = entry;
      break;
    }
  }
  std::vector<StepEntry> steps;
  for (const auto& [step, entry] : found) steps.push_back(entry);
  return steps;
}

std::optional<StepEntry> FirstUsable(const std::vector<StepEntry>& steps, const OfStep& use,
                                     const OfStep& passed_over) {
  for (StepEntry entry : steps) {
    if (entry.unreadable != 0) throw WhyUnreadable(entry);
    if (entry.damage.empty()) {
      try {
        if (use) use(entry);
        return entry;
      } catch (const Error& error) {
        if (!IsDamage(error)) throw;
        entry.damage = error.what();
      }
    }
    if (passed_over) passed_over(entry);
  }
  return std::nullopt;
}

std::unique_ptr<StepReader> OpenNewestUsable(const FileSystem& fs, const std::string& dir,
                                             bool verify, std::vector<std::string>* problems) {
  std::vector<StepEntry> candidates;
  if (fs.Exists(dir + "/" + kCommitName)) {
    candidates.push_back({0, dir});
  } else {
    candidates = ResumeOrder(fs, CheckpointsDir(fs, dir));
  }
  std::unique_ptr<StepReader> opened;
  FirstUsable(
      candidates,
      [&](const StepEntry& step) {
        if (verify) VerifyStep(fs, step.dir);
        opened = StepReader::Open(fs, step.dir);
      },
      [&](const StepEntry& step) { problems->push_back(step.damage); });
  return opened;
}

}  // namespace contrail::ckpt
