#include "monitoring/incident.h"

#include "common/strings.h"
#include "monitoring/json_fields.h"

namespace contrail::monitor {
namespace {

nlohmann::json ToJson(const Incident& incident) {
  return {
      {"attempt", incident.attempt},
      {"cause", incident.cause},
      {"rank", incident.rank},
      {"host", incident.host},
      {"detail", incident.detail},
      {"step", incident.step},
      {"resumed_from", incident.resumed_from},
      {"ranks_before", incident.ranks_before},
      {"ranks_after", incident.ranks_after},
      {"action", incident.action},
      {"time", incident.time},
      {"detect", incident.detect},
      {"stop", incident.stop},
      {"restart", incident.restart},
      {"load", incident.load},
      {"redone", incident.redone},
      {"to_next_step", incident.to_next_step},
  };
}

Incident FromJson(const nlohmann::json& object) {
  Incident incident;
  incident.attempt = Field(object, "attempt", 0);
  incident.cause = Field<std::string>(object, "cause", "");
  incident.rank = Field(object, "rank", -1);
  incident.host = Field<std::string>(object, "host", "");
  incident.detail = Field<std::string>(object, "detail", "");
  incident.step = Field<uint64_t>(object, "step", 0);
  incident.resumed_from = Field<uint64_t>(object, "resumed_from", 0);
  incident.ranks_before = Field(object, "ranks_before", 0);
  incident.ranks_after = Field(object, "ranks_after", 0);
  incident.action = Field<std::string>(object, "action", "");
  incident.time = Field(object, "time", 0.0);
  incident.detect = Field(object, "detect", 0.0);
  incident.stop = Field(object, "stop", 0.0);
  incident.restart = Field(object, "restart", 0.0);
  incident.load = Field(object, "load", 0.0);
  incident.redone = Field(object, "redone", 0.0);
  incident.to_next_step = Field(object, "to_next_step", 0.0);
  return incident;
}

}  // namespace

void AppendIncident(const RunDir& run, const Incident& incident, FileSystem& fs) {
  const std::string path = run.Incidents();
  const auto file = fs.Open(path, FileSystem::Mode::kShared);
  const uint64_t end = fs.FileSize(path);
  char last = '\n';
  if (end > 0) fs.PRead(path, &last, 1, end - 1);
  std::string line = last == '\n' ? "" : "\n";
  line += DumpLine(ToJson(incident));
  line += '\n';
  file->PWrite(line.data(), line.size(), end);
  file->Sync();
  file->Close();
}

std::vector<Incident> ReadIncidents(const RunDir& run, const FileSystem& fs) {
  std::vector<Incident> incidents;
  for (const std::string& line : Split(fs.ReadIfThere(run.Incidents()).value_or(""), '\n')) {
    const nlohmann::json object = ParseJson(line);
    if (object.is_object()) incidents.push_back(FromJson(object));
  }
  return incidents;
}

}  // namespace contrail::monitor
