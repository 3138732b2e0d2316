#include "checkpoint/newest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/format.h"
#include "checkpoint/lineage.h"
#include "common/error.h"
#include "common/token.h"

namespace contrail::ckpt {
namespace {

constexpr const char* kLostId = "E-CKPT-LOST";

std::string PathOf(const std::string& checkpoints_dir) {
  return checkpoints_dir + "/" + kNewestName;
}

std::string NameOf(const std::string& dir) { return dir.substr(dir.find_last_of('/') + 1); }

Error Lost(const std::string& checkpoints_dir, const Newest& newest) {
  return EnvironmentError(
      kLostId, PathOf(checkpoints_dir),
      "step " + std::to_string(newest.step) + ", which this run committed last, is not there",
      "bring " + newest.dir +
          " back, or go on from an older step on purpose: contrail resume RUN "
          "--from STEP");
}

size_t IndexOf(const std::vector<StepEntry>& steps, uint64_t step) {
  const auto found = std::find_if(steps.begin(), steps.end(),
                                  [step](const StepEntry& entry) { return entry.step == step; });
  return static_cast<size_t>(found - steps.begin());
}

void RemoveIfThere(FileSystem& fs, const std::string& path) {
  try {
    if (fs.KindOf(path) != EntryKind::kNone) fs.RemoveFile(path);
  } catch (const Error&) {  // the next attempt's start removes it
  }
}

enum Class { kOnward = 0, kBefore, kOther, kElsewhere };

// How each of `whole` stands to the step that newest.json names.
std::vector<Class> Classify(const FileSystem& fs, const std::vector<StepEntry>& whole,
                            const Newest& newest) {
  const Lineages lineages(fs, whole);
  size_t named = IndexOf(whole, newest.step);
  // An older copy of the step, which stands in for it where a crash came between two renames, is
  // not the step that is named.
  if (named < whole.size() && ParseSupersededName(NameOf(whole[named].dir)) &&
      lineages.Of(named) != newest.lineage) {
    named = whole.size();
  }
  std::vector<Class> classes(whole.size(), kOther);
  for (size_t i = 0; i < whole.size(); ++i) {
    if (whole[i].step <= newest.step) continue;
    // One that says nothing of its lineage (unreadable, or of a newer program) is not passed over
    // in silence. A crash may have come after another copy of the named step took its place.
    const bool onward = lineages.Of(i).empty() || lineages.ComesFrom(i, newest.lineage) ||
                        (named < whole.size() && lineages.ComesFrom(i, lineages.Of(named)));
    classes[i] = onward ? kOnward : kElsewhere;
  }
  if (named == whole.size()) return classes;
  for (const size_t i : lineages.Back(named)) classes[i] = kBefore;
  classes[named] = kOnward;
  return classes;
}

}  // namespace

void WriteNewest(FileSystem& fs, const std::string& checkpoints_dir, const Newest& newest) {
  const nlohmann::ordered_json object = {{"step", newest.step},
                                         {"dir", newest.dir},
                                         {"lineage", newest.lineage},
                                         {"attempt", newest.attempt}};
  ReplaceNewest(fs, checkpoints_dir, object.dump() + "\n");
}

void ReplaceNewest(FileSystem& fs, const std::string& checkpoints_dir, const std::string& text) {
  // A name of its own: one that takes itself for the owner of the run may write at the same time.
  const std::string temporary = checkpoints_dir + "/" + kNewestTemporary + "-" + RandomToken();
  try {
    const auto file = fs.Open(temporary, FileSystem::Mode::kExclusive);
    file->PWrite(text.data(), text.size(), 0);
    file->Sync();
    file->Close();
    fs.Rename(temporary, PathOf(checkpoints_dir));
  } catch (const Error&) {
    RemoveIfThere(fs, temporary);
    throw;
  }
  fs.SyncDir(checkpoints_dir);
}

std::optional<Newest> ReadNewest(const FileSystem& fs, const std::string& checkpoints_dir) {
  const std::optional<std::string> text = fs.ReadIfThere(PathOf(checkpoints_dir));
  if (!text) return std::nullopt;
  try {
    const auto object = nlohmann::json::parse(*text);
    return Newest{object.at("step").get<uint64_t>(), object.at("dir").get<std::string>(),
                  object.at("lineage").get<std::string>(), object.value("attempt", uint64_t{0})};
  } catch (const std::exception&) {
    throw EnvironmentError(kLostId, PathOf(checkpoints_dir),
                           "is damaged: what this run committed last cannot be told",
                           "say which step to go on from: contrail resume RUN --from STEP");
  }
}

void GoOnFrom(FileSystem& fs, const std::string& checkpoints_dir, const StepEntry& step) {
  const auto reader = StepReader::Open(fs, step.dir);
  WriteNewest(fs, checkpoints_dir,
              {step.step, NameOf(step.dir), reader->lineage(), reader->state().attempt});
}

std::vector<StepEntry> ResumeOrder(const FileSystem& fs, const std::string& checkpoints_dir) {
  const std::optional<Newest> newest = ReadNewest(fs, checkpoints_dir);
  std::vector<StepEntry> damaged;
  const std::vector<StepEntry> whole = ListSteps(fs, checkpoints_dir, &damaged);
  std::vector<std::pair<Class, StepEntry>> order;
  if (newest) {
    const std::vector<Class> classes = Classify(fs, whole, *newest);
    for (size_t i = 0; i < whole.size(); ++i) {
      if (classes[i] != kElsewhere) order.emplace_back(classes[i], whole[i]);
    }
    const bool there = std::count(classes.begin(), classes.end(), kOnward) > 0 ||
                       IndexOf(damaged, newest->step) < damaged.size();
    if (!there) throw Lost(checkpoints_dir, *newest);
  } else {
    for (const StepEntry& entry : whole) order.emplace_back(kOnward, entry);
  }
  for (const StepEntry& entry : damaged) {
    // Where an unreadable step belongs can only be told by its number.
    const bool before = newest && entry.step < newest->step;
    order.emplace_back(before ? kBefore : kOnward, entry);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second.step > b.second.step;
  });
  std::vector<StepEntry> steps;
  for (auto& [unused, entry] : order) steps.push_back(std::move(entry));
  return steps;
}

}  // namespace contrail::ckpt
