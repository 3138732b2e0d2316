#include "monitoring/damaged_step.h"

#include "common/strings.h"
#include "monitoring/json_fields.h"

namespace contrail::monitor {

void AppendDamagedStep(const RunDir& run, int attempt, const DamagedStep& step, FileSystem& fs) {
  const nlohmann::json object = {{"step", step.step},
                                 {"dir", step.dir},
                                 {"why", step.why},
                                 {"time", step.time},
                                 {"cause", step.cause}};
  fs.MakeDirs(run.Attempt(attempt));
  const std::string path = run.DamagedSteps(attempt);
  const std::string line = DumpLine(object) + "\n";
  const auto file = fs.Open(path, FileSystem::Mode::kShared);
  file->PWrite(line.data(), line.size(), fs.FileSize(path));
  file->Sync();
  file->Close();
}

std::vector<DamagedStep> ReadDamagedSteps(const RunDir& run, int attempt, const FileSystem& fs) {
  std::vector<DamagedStep> steps;
  const std::string text = fs.ReadIfThere(run.DamagedSteps(attempt)).value_or("");
  for (const std::string& line : Split(text, '\n')) {
    const nlohmann::json object = ParseJson(line);
    if (!object.is_object()) continue;
    steps.push_back({Field<uint64_t>(object, "step", 0), Field<std::string>(object, "dir", ""),
                     Field<std::string>(object, "why", ""), Field(object, "time", 0.0),
                     Field<std::string>(object, "cause", kPassedOver)});
  }
  return steps;
}

}  // namespace contrail::monitor
