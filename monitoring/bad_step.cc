#include "monitoring/bad_step.h"

#include <cstdlib>

#include "common/strings.h"
#include "monitoring/json_fields.h"

namespace contrail::monitor {

void AppendBadStep(const RunDir& run, int attempt, const BadStep& step, FileSystem& fs) {
  const nlohmann::json object = {
      {"step", step.step},   {"what", step.what},         {"value", ExactDouble(step.value)},
      {"epoch", step.epoch}, {"position", step.position}, {"rank", step.rank},
      {"host", step.host},   {"samples", step.samples},   {"detail", step.detail},
      {"time", step.time},
  };
  const std::string path = run.BadSteps(attempt);
  const std::string line = DumpLine(object) + "\n";
  const auto file = fs.Open(path, FileSystem::Mode::kShared);
  file->PWrite(line.data(), line.size(), fs.FileSize(path));
  file->Sync();
  file->Close();
}

std::vector<BadStep> ReadBadSteps(const RunDir& run, int attempt, const FileSystem& fs) {
  std::vector<BadStep> steps;
  for (const std::string& line : Split(fs.ReadIfThere(run.BadSteps(attempt)).value_or(""), '\n')) {
    const nlohmann::json object = ParseJson(line);
    if (!object.is_object()) continue;
    BadStep step;
    step.step = Field<uint64_t>(object, "step", 0);
    step.what = Field<std::string>(object, "what", "");
    step.value = std::strtod(Field<std::string>(object, "value", "nan").c_str(), nullptr);
    step.epoch = Field<uint64_t>(object, "epoch", 0);
    step.position = Field<uint64_t>(object, "position", 0);
    step.rank = Field(object, "rank", -1);
    step.host = Field<std::string>(object, "host", "");
    const auto samples = object.find("samples");
    if (samples != object.end() && samples->is_array()) {
      for (const auto& key : *samples) {
        if (key.is_string()) step.samples.push_back(key.get<std::string>());
      }
    }
    step.detail = Field<std::string>(object, "detail", "");
    step.time = Field(object, "time", 0.0);
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace contrail::monitor
