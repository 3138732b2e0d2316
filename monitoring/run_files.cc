#include "monitoring/run_files.h"

#include "common/error.h"
#include "monitoring/json_fields.h"

namespace contrail::monitor {

void WriteLease(const RunDir& run, const Lease& lease, FileSystem& fs) {
  WriteLeaseIf(run, lease, fs, [] { return true; });
}

bool WriteLeaseIf(const RunDir& run, const Lease& lease, FileSystem& fs,
                  const std::function<bool()>& still) {
  const nlohmann::json object = {
      {"owner", lease.owner},       {"attempt", lease.attempt}, {"pid", lease.pid},
      {"host", lease.host},         {"boot", lease.boot},       {"time", lease.time},
      {"renewals", lease.renewals}, {"state", lease.state},     {"job", lease.job}};
  const std::string text = DumpLine(object) + "\n", aside = run.Lease() + ".tmp-" + lease.owner;
  const auto file = fs.Open(aside, FileSystem::Mode::kTruncate);
  file->PWrite(text.data(), text.size(), 0);
  file->Sync();
  file->Close();
  if (!still()) {
    fs.RemoveFile(aside);
    return false;
  }
  fs.Rename(aside, run.Lease());
  fs.SyncDir(run.root);
  return true;
}

std::optional<Lease> ReadLease(const RunDir& run, const FileSystem& fs) {
  const std::optional<std::string> text = fs.ReadIfThere(run.Lease());
  if (!text) return std::nullopt;
  const nlohmann::json object = ParseJson(*text);
  if (!object.is_object()) {
    throw EnvironmentError("E-LEASE", run.Lease(), "is damaged: who has the run cannot be told",
                           "make sure that no launcher is at work on it, then remove the file");
  }
  Lease lease;
  lease.owner = Field<std::string>(object, "owner", "");
  lease.attempt = Field(object, "attempt", 0);
  lease.renewals = Field<uint64_t>(object, "renewals", 0);
  lease.pid = Field(object, "pid", 0);
  lease.host = Field<std::string>(object, "host", "");
  lease.boot = Field<std::string>(object, "boot", "");
  lease.time = Field(object, "time", 0.0);
  lease.state = Field<std::string>(object, "state", "");
  lease.job = Field<std::string>(object, "job", "");
  return lease;
}

void WriteSummary(const RunDir& run, const Summary& summary, FileSystem& fs) {
  nlohmann::json eval = ParseJson(summary.eval);
  if (!eval.is_object()) eval = nlohmann::json::object();
  const nlohmann::json object = {{"state", summary.state},
                                 {"steps", summary.steps},
                                 {"samples_seen", summary.samples_seen},
                                 {"final_loss", summary.final_loss},
                                 {"attempts", summary.attempts},
                                 {"incidents", summary.incidents},
                                 {"wall_seconds", summary.wall_seconds},
                                 {"train_seconds", summary.train_seconds},
                                 {"samples_per_second", summary.samples_per_second},
                                 {"checkpoints", summary.checkpoints},
                                 {"replaced", summary.replaced},
                                 {"eval", eval},
                                 {"time", summary.time},
                                 {"message", summary.message}};
  fs.WriteAtomically(run.Summary(),
                     object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::optional<Summary> ReadSummary(const RunDir& run, const FileSystem& fs) {
  const auto object = ReadJsonObject(fs, run.Summary());
  if (!object) return std::nullopt;
  Summary summary;
  summary.state = Field<std::string>(*object, "state", "");
  summary.steps = Field<uint64_t>(*object, "steps", 0);
  summary.samples_seen = Field<uint64_t>(*object, "samples_seen", 0);
  summary.final_loss = Field(*object, "final_loss", summary.final_loss);
  summary.attempts = Field(*object, "attempts", 0);
  summary.incidents = Field(*object, "incidents", 0);
  summary.wall_seconds = Field(*object, "wall_seconds", 0.0);
  summary.train_seconds = Field(*object, "train_seconds", 0.0);
  summary.samples_per_second = Field(*object, "samples_per_second", 0.0);
  summary.checkpoints = Field(*object, "checkpoints", 0);
  summary.replaced = Field<uint64_t>(*object, "replaced", 0);
  if (const auto eval = object->find("eval"); eval != object->end() && eval->is_object()) {
    summary.eval = DumpLine(*eval);
  }
  summary.time = Field(*object, "time", 0.0);
  summary.message = Field<std::string>(*object, "message", "");
  return summary;
}

}  // namespace contrail::monitor
