#include "monitoring/end_record.h"

#include <algorithm>
#include <charconv>
#include <new>
#include <string_view>

#include "common/error.h"
#include "monitoring/json_fields.h"

namespace contrail::monitor {
namespace {

constexpr const char* kGoodEnds = "/ends.jsonl";

}  // namespace

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

std::string EndRecordText(const EndRecord& record, size_t limit) {
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
      {"signal", record.signal},
      {"daemon_asked", record.daemon_asked},
      {"daemon", record.daemon},
  };
  if (!record.missing.empty()) object["missing"] = record.missing;
  std::string text = DumpLine(object);
  // A number and its comma take up to five characters.
  std::vector<int> missing = record.missing;
  while (text.size() > limit && missing.size() > 1) {
    const size_t over = text.size() - limit;
    missing.resize(missing.size() - std::min(missing.size() - 1, over / 5 + 1));
    object["missing"] = missing;
    text = DumpLine(object);
  }
  // Escapes make a text longer than its characters: cut, and look again. What is cut from the
  // middle of a character is replaced by DumpLine.
  std::string message = record.message;
  while (text.size() > limit && !message.empty()) {
    const size_t over = text.size() - limit;
    message.resize(message.size() - std::min(message.size(), std::max<size_t>(1, over / 6)));
    object["message"] = message + "...";
    text = DumpLine(object);
  }
  return text;
}

std::optional<EndRecord> ParseEndRecord(const std::string& text) {
  const nlohmann::json object = ParseJson(text);
  if (!object.is_object()) return std::nullopt;
  EndRecord record;
  record.attempt = Field(object, "attempt", 0);
  record.rank = Field(object, "rank", -1);
  record.host = Field<std::string>(object, "host", "");
  record.pid = Field(object, "pid", 0);
  record.outcome = Field<std::string>(object, "outcome", "");
  record.step = Field<uint64_t>(object, "step", 0);
  record.collective = Field<uint64_t>(object, "collective", 0);
  record.error_id = Field<std::string>(object, "error_id", "");
  record.message = Field<std::string>(object, "message", "");
  if (const auto missing = object.find("missing"); missing != object.end()) {
    for (const auto& one : *missing) {
      if (one.is_number_integer()) record.missing.push_back(one.get<int>());
    }
  }
  record.time = Field(object, "time", 0.0);
  record.culprit = Field(object, "culprit", -1);
  record.signal = Field(object, "signal", 0);
  record.daemon_asked = Field(object, "daemon_asked", false);
  record.daemon = Field(object, "daemon", 0);
  return record;
}

void WriteEndRecord(const RunDir& run, const EndRecord& record, FileSystem& fs) {
  fs.MakeDirs(run.Attempt(record.attempt));
  fs.WriteAtomically(run.EndRecord(record.attempt, record.rank), EndRecordText(record) + "\n");
}

void WriteGoodEnds(const RunDir& run, int attempt, const std::vector<std::string>& texts,
                   FileSystem& fs) {
  fs.MakeDirs(run.Attempt(attempt));
  std::string lines;
  for (const std::string& text : texts) lines += text + "\n";
  fs.WriteAtomically(run.Attempt(attempt) + kGoodEnds, lines);
}

std::map<int, EndRecord> ReadEndRecords(const RunDir& run, int attempt, const FileSystem& fs) {
  std::map<int, EndRecord> records;
  const std::vector<std::string> names = fs.List(run.Attempt(attempt));
  if (std::find(names.begin(), names.end(), kGoodEnds + 1) != names.end()) {
    const std::string lines = fs.ReadIfThere(run.Attempt(attempt) + kGoodEnds).value_or("");
    for (size_t at = 0, end; (end = lines.find('\n', at)) != lines.npos; at = end + 1) {
      const auto record = ParseEndRecord(lines.substr(at, end - at));
      if (record && record->rank >= 0) records[record->rank] = *record;
    }
  }
  constexpr std::string_view kPrefix = "end_rank_", kSuffix = ".json";
  for (const std::string& name : names) {
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    int rank = -1;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), rank);
    const auto text = fs.ReadIfThere(run.EndRecord(attempt, rank));
    if (!text) continue;
    if (auto record = ParseEndRecord(*text)) {
      record->rank = rank;
      records[rank] = *record;
    }
  }
  for (auto& [rank, record] : records) record.attempt = attempt;
  return records;
}

std::optional<EndRecord> ReadEndRecord(const RunDir& run, int attempt, int rank,
                                       const FileSystem& fs) {
  const auto records = ReadEndRecords(run, attempt, fs);
  const auto found = records.find(rank);
  return found == records.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace contrail::monitor
