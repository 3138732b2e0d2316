#include "checkpoint/commands.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/format.h"
#include "checkpoint/index.h"
#include "checkpoint/load.h"
#include "checkpoint/prune.h"
#include "common/error.h"
#include "common/escape.h"
#include "common/file_system.h"
#include "common/log.h"
#include "common/strings.h"

namespace contrail {
namespace {

using Json = nlohmann::ordered_json;

void Print(const Json& json) {
  // Paths need not be UTF-8.
  std::printf("%s\n", json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(ExactDouble(value)); }

std::string NameOf(const std::string& dir) { return dir.substr(dir.find_last_of('/') + 1); }

// The steps PATH speaks of, newest first; damaged ones too, as long as they have a step's name.
std::vector<ckpt::StepEntry> StepsAt(const FileSystem& fs, std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (!fs.Exists(path))
    throw UserError("E-CKPT-MISSING", path, "there is no such checkpoint",
                    "give a step directory or a run directory");
  const auto step = ckpt::ParseStepName(NameOf(path));
  if (step || fs.Exists(path + "/" + ckpt::kCommitName)) return {{step.value_or(0), path}};
  const std::string dir = ckpt::CheckpointsDir(fs, path);
  std::vector<ckpt::StepEntry> damaged;
  std::vector<ckpt::StepEntry> steps = ckpt::ListSteps(fs, dir, &damaged);
  steps.insert(steps.end(), damaged.begin(), damaged.end());
  std::sort(steps.begin(), steps.end(),
            [](const auto& a, const auto& b) { return a.step > b.step; });
  return steps;
}

Json Summary(const ckpt::StepReader& step) {
  const ckpt::RunState& state = step.state();
  return {
      {"step", state.step},         {"dir", step.dir()},     {"samples_seen", state.samples_seen},
      {"loss", Number(state.loss)}, {"model", state.model},  {"ranks", state.world_size},
      {"attempt", state.attempt},   {"bytes", step.bytes()}, {"lineage", step.lineage()}};
}

int List(const FileSystem& fs, const ParsedArgs& args) {
  const std::vector<ckpt::StepEntry> steps = StepsAt(fs, args.positional[0]);
  const bool as_json = args.Has("--json");
  Json rows = Json::array();
  if (!as_json && !steps.empty())
    std::printf("%12s  %14s  %9s  %5s  %9s  %-16s  %s\n", "step", "samples", "loss", "ranks",
                "size", "model", "directory");
  for (const ckpt::StepEntry& entry : steps) {
    try {
      const auto step = ckpt::StepReader::Open(fs, entry.dir);
      const ckpt::RunState& state = step->state();
      rows.push_back(Summary(*step));
      if (!as_json)
        std::printf("%12" PRIu64 "  %14" PRIu64 "  %9.4f  %5" PRIu64 "  %9s  %-16s  %s\n",
                    state.step, state.samples_seen, state.loss, state.world_size,
                    HumanBytes(step->bytes()).c_str(), Escape(state.model).c_str(),
                    Escape(NameOf(entry.dir)).c_str());
    } catch (const Error& error) {
      rows.push_back({{"step", entry.step}, {"dir", entry.dir}, {"error", error.what()}});
      if (!as_json) std::printf("%12" PRIu64 "  unusable: %s\n", entry.step, error.what());
    }
  }
  if (as_json) Print(rows);
  if (steps.empty()) LogInfo(args.positional[0] + ": no committed checkpoint yet");
  return kExitDone;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Json Details(const ckpt::StepReader& step, const ckpt::Manifest& manifest, bool tensors) {
  const ckpt::RunState& state = step.state();
  Json json = Summary(step);
  json["phase"] = state.phase;
  json["phase_step"] = state.phase_step;
  json["activation"] = state.activation;
  json["resolution"] = state.resolution;
  json["mean_std"] = state.mean_std;
  if (state.micro_batch > 0) json["micro_batch"] = state.micro_batch;
  if (!state.instruction_sets.empty()) json["instruction_sets"] = state.instruction_sets;
  json["fingerprint"] = state.fingerprint;
  json["data_fingerprint"] = state.data_fingerprint;
  json["parent"] = state.parent;
  json["parameters"] = step.layout().num_elements;
  json["num_tensors"] = step.layout().tensors.size();
  json["weights_only"] = step.weights_only();
  json["num_buffers"] = step.buffers().size();
  json["shards"] = Json::array();
  for (const ckpt::ShardInfo& shard : manifest.shards) {
    Json ranks = Json::array();
    for (const ckpt::RankPart& part : shard.parts) ranks.push_back(part.rank);
    json["shards"].push_back({{"file", shard.file}, {"bytes", shard.file_bytes}, {"ranks", ranks}});
  }
  if (!tensors) return json;
  json["tensors"] = Json::array();
  for (const ckpt::TensorInfo& tensor : step.layout().tensors)
    json["tensors"].push_back({{"name", tensor.name}, {"shape", tensor.shape}});
  json["buffers"] = Json::array();
  for (const ckpt::NamedArray& buffer : step.buffers())
    json["buffers"].push_back({{"name", buffer.name}, {"shape", buffer.shape}});
  return json;
}

int Show(const FileSystem& fs, const ParsedArgs& args) {
  const auto step = ckpt::StepReader::Open(fs, args.positional[0]);
  const std::string commit = step->dir() + "/" + ckpt::kCommitName;
  const ckpt::Manifest manifest = ckpt::DecodeManifest(fs.ReadAll(commit), commit);
  const bool tensors = args.Has("--tensors");
  const Json details = Details(*step, manifest, tensors);
  if (args.Has("--json")) {
    Print(details);
    return kExitDone;
  }
  for (const auto& [key, value] : details.items()) {
    if (value.is_array()) continue;
    std::printf("%-17s %s\n", key.c_str(),
                Escape(value.is_string() ? value.get<std::string>() : value.dump()).c_str());
  }
  for (const ckpt::ShardInfo& shard : manifest.shards)
    std::printf("%-17s %s, ranks %d to %d\n", shard.file.c_str(),
                HumanBytes(shard.file_bytes).c_str(), shard.parts.front().rank,
                shard.parts.back().rank);
  if (tensors)
    for (const ckpt::TensorInfo& tensor : step->layout().tensors)
      std::printf("%s %s\n", Escape(tensor.name).c_str(), ShapeText(tensor.shape).c_str());
  if (tensors)
    for (const ckpt::NamedArray& buffer : step->buffers())
      std::printf("%s %s (buffer)\n", Escape(buffer.name).c_str(), ShapeText(buffer.shape).c_str());
  return kExitDone;
}

int Verify(const FileSystem& fs, const ParsedArgs& args) {
  const std::vector<ckpt::StepEntry> steps = StepsAt(fs, args.positional[0]);
  if (steps.empty())
    throw UserError("E-CKPT-MISSING", args.positional[0], "holds no committed checkpoint");
  const bool as_json = args.Has("--json");
  Json rows = Json::array();
  bool all_ok = true;
  for (const ckpt::StepEntry& entry : steps) {
    Json row = {{"step", entry.step}, {"dir", entry.dir}};
    try {
      ckpt::VerifyStep(fs, entry.dir);
      const uint64_t bytes = ckpt::StepReader::Open(fs, entry.dir)->bytes();
      row["ok"] = true;
      row["bytes"] = bytes;
      if (!as_json) std::printf("ok       %s  %s\n", entry.dir.c_str(), HumanBytes(bytes).c_str());
    } catch (const Error& error) {
      all_ok = false;
      row["ok"] = false;
      row["error"] = error.what();
      const bool unreadable = dynamic_cast<const IoError*>(&error) != nullptr;
      if (!as_json) std::printf("%s  %s\n", unreadable ? "unread " : "damaged", entry.dir.c_str());
      LogError(error.what());
    }
    rows.push_back(row);
  }
  if (as_json) Print({{"ok", all_ok}, {"steps", rows}});
  return all_ok ? kExitDone : kExitUser;
}

int Index(FileSystem& fs, const ParsedArgs& args) {
  const std::string dir = ckpt::StepReader::Open(fs, args.positional[0])->dir();
  const bool made = ckpt::WriteIndex(fs, dir);
  std::printf("%s %s/%s\n", made ? "wrote" : "there already:", dir.c_str(), ckpt::kIndexName);
  return kExitDone;
}

int Prune(FileSystem& fs, const ParsedArgs& args) {
  const std::string path = args.positional[0];
  if (!fs.Exists(path)) throw UserError("E-CKPT-MISSING", path, "there is no such run directory");
  if (!args.Has("--keep"))
    throw UserError("E-CLI-VALUE", "--keep", "is missing", "say how many steps to keep: --keep N");
  const auto keep = static_cast<int>(args.Int("--keep", 1, 1, 1000000));
  const std::string dir = ckpt::CheckpointsDir(fs, path);
  // A job may be saving right now. What older attempts than the newest step's left is dead.
  std::vector<std::string> problems;
  const auto newest = ckpt::OpenNewestUsable(fs, dir, false, &problems);
  ckpt::Retention retention{.keep_last = keep};
  retention.attempt = newest == nullptr ? 0 : newest->state().attempt;
  const bool dry_run = args.Has("--dry-run");
  ckpt::Pruned pruned;
  if (dry_run) {
    pruned = ckpt::PlanPrune(fs, dir, retention);
  } else {
    pruned = ckpt::Prune(fs, dir, retention);
  }
  for (const std::string& one : pruned.removed)
    std::printf("%s %s\n", dry_run ? "would remove" : "removed", one.c_str());
  for (const std::string& problem : pruned.problems) LogWarning(problem);
  if (pruned.removed.empty() && pruned.problems.empty()) LogInfo(dir + ": nothing to remove");
  return pruned.problems.empty() ? kExitDone : kExitEnvironment;
}

}  // namespace

int RunCheckpointCommand(const ParsedArgs& args) {
  FileSystem& fs = PosixFileSystem();
  const std::string& name = args.command->name;
  if (name == "checkpoint list") return List(fs, args);
  if (name == "checkpoint show") return Show(fs, args);
  if (name == "checkpoint verify") return Verify(fs, args);
  if (name == "checkpoint index") return Index(fs, args);
  CONTRAIL_ASSERT(name == "checkpoint prune");
  return Prune(fs, args);
}

}  // namespace contrail
