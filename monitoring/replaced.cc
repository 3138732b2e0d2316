#include "monitoring/replaced.h"

#include <map>
#include <tuple>
#include <utility>

#include "common/strings.h"
#include "monitoring/json_fields.h"

namespace contrail::monitor {

std::string ReplacedLine(const ReplacedSample& sample) {
  return DumpLine({{"step", sample.step},
                   {"epoch", sample.epoch},
                   {"position", sample.position},
                   {"sample", sample.sample},
                   {"key", sample.key},
                   {"with", sample.with},
                   {"with_key", sample.with_key},
                   {"tries", sample.tries},
                   {"unreadable", sample.unreadable},
                   {"why", sample.why},
                   {"data", sample.data},
                   {"attempt", sample.attempt},
                   {"time", sample.time}});
}

void AppendReplaced(const RunDir& run, const std::vector<ReplacedSample>& samples, FileSystem& fs) {
  const std::string path = run.Replaced();
  const auto file = fs.Open(path, FileSystem::Mode::kShared);
  const uint64_t end = fs.FileSize(path);
  char last = '\n';
  if (end > 0) fs.PRead(path, &last, 1, end - 1);
  std::string lines = last == '\n' ? "" : "\n";
  for (const ReplacedSample& sample : samples) lines += ReplacedLine(sample) + "\n";
  file->PWrite(lines.data(), lines.size(), end);
  file->Sync();
  file->Close();
}

std::vector<ReplacedSample> ParseReplaced(const std::string& text) {
  std::map<std::tuple<std::string, uint64_t, uint64_t>, ReplacedSample> by_place;
  for (const std::string& line : Split(text, '\n')) {
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object()) continue;
    ReplacedSample sample;
    sample.step = Field<uint64_t>(object, "step", 0);
    sample.epoch = Field<uint64_t>(object, "epoch", 0);
    sample.position = Field<uint64_t>(object, "position", 0);
    sample.sample = Field<uint64_t>(object, "sample", 0);
    sample.key = Field<std::string>(object, "key", "");
    sample.with = Field<uint64_t>(object, "with", 0);
    sample.with_key = Field<std::string>(object, "with_key", "");
    sample.tries = Field(object, "tries", 0);
    sample.unreadable = Field(object, "unreadable", false);
    sample.why = Field<std::string>(object, "why", "");
    sample.data = Field<std::string>(object, "data", "");
    sample.attempt = Field(object, "attempt", 0);
    sample.time = Field(object, "time", 0.0);
    by_place[{sample.data, sample.epoch, sample.position}] = std::move(sample);
  }
  std::vector<ReplacedSample> samples;
  for (auto& [place, sample] : by_place) samples.push_back(std::move(sample));
  return samples;
}

std::vector<ReplacedSample> ReadReplaced(const RunDir& run, const FileSystem& fs) {
  return ParseReplaced(fs.ReadIfThere(run.Replaced()).value_or(""));
}

}  // namespace contrail::monitor
