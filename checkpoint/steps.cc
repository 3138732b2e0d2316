// Which steps there are, and which of them can be used.
#include <functional>
#include <map>
#include <set>

#include "checkpoint/format.h"
#include "checkpoint/load.h"
#include "checkpoint/newest.h"
#include "common/error.h"

namespace contrail::ckpt {
namespace {

// "" where the directory has a whole COMMIT, else what is wrong with it. Throws E-IO where it
// cannot be told.
std::string WhyNotCommitted(const FileSystem& fs, const std::string& dir) {
  const std::string path = dir + "/" + kCommitName;
  const std::optional<std::string> text = fs.ReadIfThere(path);
  if (!text) return "E-CKPT-CORRUPT: " + path + ": is missing";
  return ManifestIsWhole(*text) ? "" : "E-CKPT-CORRUPT: " + path + ": torn or damaged";
}

// A link to an archive that is not mounted: the step is away, not damaged.
bool LeadsNowhere(const FileSystem& fs, const std::string& dir) {
  return fs.KindOf(dir) == EntryKind::kLink && !fs.Exists(dir);
}

}  // namespace

bool IsDamage(const Error& error) { return error.id() == "E-CKPT-CORRUPT"; }

std::vector<StepEntry> ListSteps(const FileSystem& fs, const std::string& checkpoints_dir,
                                 std::vector<StepEntry>* damaged) {
  std::map<uint64_t, std::string, std::greater<>> found;
  std::map<uint64_t, std::map<uint64_t, std::string>> superseded;  // step -> k -> directory
  std::set<uint64_t> present;
  for (const std::string& name : fs.List(checkpoints_dir)) {
    const std::string dir = checkpoints_dir + "/" + name;
    if (const auto step = ParseStepName(name)) {
      if (LeadsNowhere(fs, dir)) continue;
      present.insert(*step);
      const std::string damage = WhyNotCommitted(fs, dir);
      if (damage.empty()) found[*step] = dir;
      if (!damage.empty() && damaged != nullptr) damaged->push_back({*step, dir, damage});
    } else if (const auto old = ParseSupersededName(name)) {
      superseded[old->step][old->k] = dir;
    }
  }
  for (const auto& [step, dirs] : superseded) {
    if (present.count(step) > 0) continue;
    for (auto dir = dirs.rbegin(); dir != dirs.rend(); ++dir)
      if (WhyNotCommitted(fs, dir->second).empty()) {
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
  std::vector<StepEntry> candidates;
  if (fs.Exists(dir + "/" + kCommitName)) {
    candidates.push_back({0, dir});
  } else {
    candidates = ResumeOrder(fs, CheckpointsDir(fs, dir));
  }
  for (const StepEntry& candidate : candidates) {
    if (!candidate.damage.empty()) {
      problems->push_back(candidate.damage);
      continue;
    }
    try {
      if (verify) VerifyStep(fs, candidate.dir);
      return StepReader::Open(fs, candidate.dir);
    } catch (const Error& error) {
      if (!IsDamage(error)) throw;
      problems->push_back(error.what());
    }
  }
  return nullptr;
}

}  // namespace contrail::ckpt
