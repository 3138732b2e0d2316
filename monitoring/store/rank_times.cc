#include "monitoring/store/rank_times.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "common/error.h"
#include "monitoring/store/tail_reader.h"

namespace contrail::monitor {
namespace {

constexpr size_t kOpening = 64 << 10;  // bytes in which a file of a node has its header

// The job's file and those of other nodes, of one attempt, in the order of writing.
std::vector<std::string> FilesOf(const RunDir& run, int attempt, const FileSystem& fs) {
  std::vector<std::string> files;
  const std::string of_attempt = ".attempt_" + std::to_string(attempt) + ".node_";
  for (const std::string& name : fs.List(run.Telemetry())) {
    if (name.find(of_attempt) != std::string::npos) files.push_back(run.Telemetry() + "/" + name);
  }
  for (const std::string& name : fs.List(run.Attempt(attempt))) {
    if (name.starts_with("rank_times.")) files.push_back(run.Attempt(attempt) + "/" + name);
  }
  return files;
}

// Where the rank's times stand in the file's records; -1 where the file is of other ranks. A file
// without a list holds all ranks in order.
int PlaceIn(const FileHeader& header, int rank) {
  if (header.ranks.empty()) return rank;
  const auto found = std::find(header.ranks.begin(), header.ranks.end(), rank);
  return found == header.ranks.end() ? -1 : static_cast<int>(found - header.ranks.begin());
}

// The header of a file of a node; nothing where the job's own, which is longer, or unreadable.
std::optional<FileHeader> OpeningHeader(const std::string& path, const FileSystem& fs) {
  const auto file = fs.OpenToRead(path);
  std::string bytes(std::min<uint64_t>(kOpening, file->size()), '\0');
  file->PRead(bytes.data(), bytes.size(), 0);
  for (const std::string_view payload : ScanFrames(bytes).payloads) {
    const auto event = DecodeEvent(payload);
    if (event && event->header) return event->header;
  }
  return std::nullopt;
}

void TakeTimes(const std::string& path, int rank, const FileSystem& fs,
               std::map<uint64_t, StepTimes>& times) {
  const std::optional<FileHeader> header = OpeningHeader(path, fs);
  int place = header ? PlaceIn(*header, rank) : -1;
  if (header && place < 0) return;
  for (const TelemetryEvent& event : TailReader(path, fs).Next()) {
    if (event.header) place = PlaceIn(*event.header, rank);
    if (!event.step_record || place < 0) continue;
    const std::vector<StepTimes>& ranks = event.step_record->ranks;
    if (static_cast<size_t>(place) < ranks.size()) {
      times[event.step_record->step] = ranks[static_cast<size_t>(place)];
    }
  }
}

}  // namespace

std::optional<RankSeriesName> ParseRankSeries(const std::string& name) {
  for (size_t phase = 0; phase < kNumPhases; ++phase) {
    const std::string prefix = std::string("phase_seconds/") + Phases()[phase].name + "/rank_";
    if (!name.starts_with(prefix)) continue;
    int rank = -1;
    int used = 0;
    const std::string number = name.substr(prefix.size());
    const bool whole = std::sscanf(number.c_str(), "%d%n", &rank, &used) == 1 &&
                       static_cast<size_t>(used) == number.size();
    if (whole && rank >= 0) return RankSeriesName{phase, rank};
  }
  return std::nullopt;
}

std::vector<SeriesPoint> RankSeries(const RunDir& run, const RunStore& store,
                                    const RankSeriesName& name, const FileSystem& fs) {
  std::map<uint64_t, StepTimes> times;
  for (const auto& [key, attempt] : store.attempts()) {
    if (key.second > 0) continue;  // the files of an attempt are read together
    if (attempt.opened) times.erase(times.upper_bound(attempt.resumed_step), times.end());
    for (const std::string& path : FilesOf(run, key.first, fs)) {
      TakeTimes(path, name.rank, fs, times);
    }
  }
  std::vector<SeriesPoint> points;
  for (const StepRow* row : store.committed()) {
    const auto found = times.find(row->record.step);
    if (found == times.end()) continue;
    points.push_back(
        {found->first, static_cast<double>(found->second.*Phases()[name.phase].field)});
  }
  return points;
}

}  // namespace contrail::monitor
