#include "monitoring/data_consent.h"

#include "monitoring/json_fields.h"

namespace contrail::monitor {

void WriteDataConsent(const RunDir& run, const DataConsent& consent, FileSystem& fs) {
  const nlohmann::json object = {{"id", consent.id}, {"fingerprint", consent.fingerprint}};
  fs.WriteAtomically(run.DataConsent(), DumpLine(object) + "\n");
}

std::optional<DataConsent> ReadDataConsent(const RunDir& run, const FileSystem& fs) {
  const auto object = ReadJsonObject(fs, run.DataConsent());
  if (!object) return std::nullopt;
  return DataConsent{.id = Field<std::string>(*object, "id", ""),
                     .fingerprint = Field<std::string>(*object, "fingerprint", "")};
}

bool AgreedToData(const RunDir& run, const std::string& id, const std::string& fingerprint,
                  FileSystem& fs) {
  const auto before = ReadDataConsent(run, fs);
  if (!id.empty() && (!before || before->id != id)) {
    WriteDataConsent(run, {.id = id, .fingerprint = fingerprint}, fs);
    return true;
  }
  return before && before->fingerprint == fingerprint;
}

}  // namespace contrail::monitor
