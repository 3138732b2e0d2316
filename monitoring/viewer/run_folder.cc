#include "monitoring/viewer/run_folder.h"

#include <algorithm>
#include <cstdio>

#include "monitoring/json_fields.h"
#include "monitoring/replaced.h"

namespace contrail::monitor {
namespace {

// Numbers of an object and of the objects in it: {"ensemble": {"top1": 0.8}} -> ensemble.top1.
void CollectNumbers(const nlohmann::json& object, const std::string& prefix, EvalLine& line) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_number() && key != "step") {
      line.numbers.emplace_back(prefix + key, value.get<double>());
    } else if (value.is_object()) {
      CollectNumbers(value, prefix + key + ".", line);
    }
  }
}

}  // namespace

std::vector<uint64_t> CommittedSteps(const RunDir& run, const FileSystem& fs) {
  std::vector<uint64_t> steps;
  for (const std::string& name : fs.List(run.Checkpoints())) {
    unsigned long long step = 0;
    int used = 0;
    if (std::sscanf(name.c_str(), "step_%llu%n", &step, &used) != 1) continue;
    if (static_cast<size_t>(used) != name.size()) continue;  // step_00000010.tmp, .superseded-1
    if (fs.Exists(run.Checkpoints() + "/" + name + "/COMMIT")) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string LastReplaced(const RunDir& run, const FileSystem& fs) {
  constexpr uint64_t kTail = 16 * 1024;  // some lines; the file may have millions
  if (!fs.Exists(run.Replaced())) return "";
  const uint64_t size = fs.FileSize(run.Replaced());
  std::string tail(std::min(size, kTail), '\0');
  fs.PRead(run.Replaced(), tail.data(), tail.size(), size - tail.size());
  std::string last;
  double time = 0;
  for (const ReplacedSample& sample : ParseReplaced(tail)) {
    if (sample.time < time) continue;
    time = sample.time;
    last = sample.key + ": " + sample.why;
  }
  return last;
}

std::vector<EvalLine> ReadEvals(const RunDir& run, const FileSystem& fs) {
  std::vector<EvalLine> evals;
  for (const std::string& name : fs.List(run.Eval())) {
    if (!name.ends_with(".json")) continue;
    const auto object = ReadJsonObject(fs, run.Eval() + "/" + name);
    if (!object) continue;
    EvalLine line;
    line.file = name;
    line.task = Field<std::string>(*object, "task", "");
    line.dataset = Field<std::string>(*object, "dataset", "");
    line.step = Field<uint64_t>(*object, "step", 0);
    line.json = DumpLine(*object);
    CollectNumbers(*object, "", line);
    evals.push_back(std::move(line));
  }
  std::stable_sort(evals.begin(), evals.end(),
                   [](const EvalLine& a, const EvalLine& b) { return a.step < b.step; });
  return evals;
}

}  // namespace contrail::monitor
