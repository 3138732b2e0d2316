#include "monitoring/end_record.h"

#include <new>

#include "common/error.h"
#include "monitoring/json_fields.h"

namespace contrail::monitor {

const std::vector<Outcome>& Outcomes() {
  static const std::vector<Outcome> table = {
      {"done", kExitDone, "trained to the last step; its final checkpoint is committed"},
      {"stopped", kExitStopped, "stopped on request after a checkpoint was committed"},
      {"user_error", kExitUser,
       "the configuration, arguments or data are wrong; a restart "
       "would fail the same way"},
      {"environment_error", kExitEnvironment,
       "a disk, a peer or a device failed; a restart may "
       "succeed"},
      {"bug", kExitBug, "a promise inside Contrail was broken"},
  };
  return table;
}

int OutcomeExitCode(const std::string& name) {
  for (const Outcome& outcome : Outcomes()) {
    if (name == outcome.name) return outcome.exit_code;
  }
  return kExitBug;
}

void DescribeFailure(const std::exception& error, EndRecord& record) {
  record.message = error.what();
  if (const auto* ours = dynamic_cast<const Error*>(&error)) {
    record.error_id = ours->id();
    switch (ours->kind()) {
      case ErrorKind::kUser:
        record.outcome = "user_error";
        return;
      case ErrorKind::kEnvironment:
        record.outcome = "environment_error";
        return;
      case ErrorKind::kBug:
        record.outcome = "bug";
        return;
    }
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    record.outcome = "environment_error";
    record.error_id = "E-MEMORY";
    record.message =
        "E-MEMORY: out of memory; use fewer ranks on this node or a smaller "
        "train.micro_batch_size";
    return;
  }
  record.outcome = "bug";
  record.error_id = "E-BUG";
}

void WriteEndRecord(const RunDir& run, const EndRecord& record, FileSystem& fs) {
  nlohmann::json object = {
      {"attempt", record.attempt},
      {"rank", record.rank},
      {"host", record.host},
      {"pid", record.pid},
      {"outcome", record.outcome},
      {"step", record.step},
      {"collective", record.collective},
      {"error_id", record.error_id},
      {"message", record.message},
      {"time", record.time},
      {"culprit", record.culprit},
  };
  if (!record.missing.empty()) object["missing"] = record.missing;
  fs.MakeDirs(run.Attempt(record.attempt));
  fs.WriteAtomically(run.EndRecord(record.attempt, record.rank), DumpLine(object) + "\n");
}

std::optional<EndRecord> ReadEndRecord(const RunDir& run, int attempt, int rank,
                                       const FileSystem& fs) {
  const auto object = ReadJsonObject(fs, run.EndRecord(attempt, rank));
  if (!object) return std::nullopt;
  EndRecord record;
  record.attempt = Field(*object, "attempt", attempt);
  record.rank = Field(*object, "rank", rank);
  record.host = Field<std::string>(*object, "host", "");
  record.pid = Field(*object, "pid", 0);
  record.outcome = Field<std::string>(*object, "outcome", "");
  record.step = Field<uint64_t>(*object, "step", 0);
  record.collective = Field<uint64_t>(*object, "collective", 0);
  record.error_id = Field<std::string>(*object, "error_id", "");
  record.message = Field<std::string>(*object, "message", "");
  if (const auto missing = object->find("missing"); missing != object->end()) {
    for (const auto& one : *missing) {
      if (one.is_number_integer()) record.missing.push_back(one.get<int>());
    }
  }
  record.time = Field(*object, "time", 0.0);
  record.culprit = Field(*object, "culprit", -1);
  return record;
}

}  // namespace contrail::monitor
