#include "monitoring/store/run_store.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace contrail::monitor {
namespace {

// "events.out.tfevents.1795508540.attempt_2.node_0"; "records.1795508540.attempt_2.node_1" are
// copies that older programs wrote on the other nodes.
bool ParseName(const std::string& name, int& attempt, int& node) {
  long stamp = 0;
  for (const char* format :
       {"events.out.tfevents.%ld.attempt_%d.node_%d%n", "records.%ld.attempt_%d.node_%d%n"}) {
    int used = 0;
    if (std::sscanf(name.c_str(), format, &stamp, &attempt, &node, &used) == 3 &&
        static_cast<size_t>(used) == name.size()) {
      return true;
    }
  }
  return false;
}

// Keeps `list` ascending by step: a repeated step replaces (or, without `replace`, yields).
template <typename T, typename StepOf>
void InsertByStep(std::vector<T>& list, T item, bool replace, StepOf step_of) {
  auto at = list.end();
  if (!list.empty() && step_of(list.back()) >= step_of(item)) {
    at = std::lower_bound(list.begin(), list.end(), item,
                          [&](const T& a, const T& b) { return step_of(a) < step_of(b); });
    if (at != list.end() && step_of(*at) == step_of(item)) {
      if (replace) *at = std::move(item);
      return;
    }
  }
  list.insert(at, std::move(item));
}

uint64_t StepOfRow(const StepRow& row) { return row.record.step; }
uint64_t StepOfCheckpoint(const CheckpointRecord& record) { return record.step; }

}  // namespace

RunStore::RunStore(const RunDir& run, const FileSystem& fs) : run_(run), fs_(&fs) { Refresh(); }

void RunStore::Refresh() {
  for (const std::string& name : fs_->List(run_.Telemetry())) {
    int attempt = 0;
    int node = 0;
    if (files_.count(name) > 0 || !ParseName(name, attempt, node)) continue;
    files_.emplace(name, File{.reader = TailReader(run_.Telemetry() + "/" + name, *fs_),
                              .attempt = {attempt, 0},
                              .node = node});
  }
  bool changed = false;
  for (auto& [name, file] : files_) {
    for (const TelemetryEvent& event : file.reader.Next()) {
      Take(file, event);
      changed = true;
    }
  }
  if (changed) Merge();
}

void RunStore::Take(File& file, const TelemetryEvent& event) {
  if (event.header) {
    file.node = event.header->node;
    file.attempt = {event.header->attempt, 0};
    while (!event.header->continued && file.node == 0 && attempts_[file.attempt].opened) {
      ++file.attempt.second;
    }
  } else if (!event.step_record && !event.checkpoint && !event.health) {
    return;  // TensorBoard's own opening records
  }
  AttemptLog& attempt = attempts_[file.attempt];
  attempt.number = file.attempt.first;
  if (attempt.started == 0) attempt.started = event.wall_time;
  attempt.last_time = std::max(attempt.last_time, event.wall_time);
  if (event.header) {
    attempt.opened = true;
    attempt.resumed_step = event.header->resumed_step;
    if (event.header->total_steps > 0) total_steps_ = event.header->total_steps;
    if (event.header->samples_per_epoch > 0) samples_per_epoch_ = event.header->samples_per_epoch;
  }
  if (event.step_record) {
    InsertByStep(attempt.rows, Summarize(*event.step_record), file.node == 0, StepOfRow);
  }
  if (event.checkpoint) {
    InsertByStep(attempt.checkpoints, *event.checkpoint, file.node == 0, StepOfCheckpoint);
  }
  if (event.health) {
    file.dropped = event.health->dropped;
    attempt.closed = event.health->closed;
  }
}

void RunStore::Merge() {
  committed_.clear();
  superseded_.clear();
  checkpoints_.clear();
  const auto undo_rows = [this](uint64_t step) {
    while (!committed_.empty() && committed_.back()->record.step >= step) {
      superseded_.push_back(committed_.back());
      committed_.pop_back();
    }
  };
  const auto undo_from = [&](uint64_t step) {
    undo_rows(step);
    while (!checkpoints_.empty() && checkpoints_.back().step >= step) checkpoints_.pop_back();
  };
  for (const auto& [key, attempt] : attempts_) {
    if (attempt.opened) undo_from(attempt.resumed_step + 1);
    for (const StepRow& row : attempt.rows) {
      undo_rows(row.record.step);
      committed_.push_back(&row);
    }
    for (const CheckpointRecord& record : attempt.checkpoints) {
      InsertByStep(checkpoints_, record, true, StepOfCheckpoint);
    }
  }
}

std::vector<TelemetryFileState> RunStore::files() const {
  std::vector<TelemetryFileState> states;
  for (const auto& [name, file] : files_) {
    states.push_back({.name = name,
                      .bytes = file.reader.offset(),
                      .torn_bytes = file.reader.torn_bytes(),
                      .dropped = file.dropped,
                      .problem = file.reader.problem()});
  }
  return states;
}

uint64_t RunStore::dropped() const {
  // Files of one attempt and node carry the same running count.
  std::map<std::pair<AttemptKey, int>, uint64_t> counts;
  for (const auto& [name, file] : files_) {
    uint64_t& count = counts[{file.attempt, file.node}];
    count = std::max(count, file.dropped);
  }
  uint64_t total = 0;
  for (const auto& [writer, count] : counts) total += count;
  return total;
}

std::vector<SeriesPoint> RunStore::Series(const Metric& metric) const {
  std::vector<SeriesPoint> points;
  const auto add = [&](uint64_t step, double value) {
    if (metric.nan_is_missing && std::isnan(value)) return;
    points.push_back({step, value});
  };
  if (metric.of_step != nullptr) {
    for (const StepRow* row : committed_) add(row->record.step, metric.of_step(*row, metric.phase));
  } else {
    for (const CheckpointRecord& record : checkpoints_) {
      add(record.step, metric.of_checkpoint(record));
    }
  }
  return points;
}

}  // namespace contrail::monitor
