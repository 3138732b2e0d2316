#include "monitoring/metrics.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace contrail::monitor {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

PhaseStats StatsOf(const std::vector<StepTimes>& ranks, float StepTimes::*field) {
  PhaseStats stats;
  if (ranks.empty()) return stats;
  std::vector<float> values;
  values.reserve(ranks.size());
  for (const StepTimes& times : ranks) values.push_back(times.*field);
  const auto largest = std::max_element(values.begin(), values.end());
  stats.max = *largest;
  stats.max_rank = static_cast<int>(largest - values.begin());
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  stats.p50 = *middle;
  return stats;
}

std::pair<float, int> Latest(const std::vector<StepTimes>& ranks, float StepTimes::*wait) {
  const std::vector<float> lateness = Lateness(ranks, wait);
  const auto latest = std::max_element(lateness.begin(), lateness.end());
  if (latest == lateness.end() || *latest <= 0) return {0.0f, -1};
  return {*latest, static_cast<int>(latest - lateness.begin())};
}

using Over = Metric::Over;

Metric OfStep(std::string name, std::string label, std::string unit, std::string help,
              double (*value)(const StepRow&, size_t)) {
  Metric metric;
  metric.name = std::move(name);
  metric.label = std::move(label);
  metric.unit = std::move(unit);
  metric.help = std::move(help);
  metric.of_step = value;
  return metric;
}

Metric OfCheckpoint(std::string name, std::string label, std::string unit, std::string help,
                    double (*value)(const CheckpointRecord&)) {
  Metric metric = OfStep(std::move(name), std::move(label), std::move(unit), std::move(help), {});
  metric.of_checkpoint = value;
  return metric;
}

Metric NotExported(Metric metric) {
  metric.tensorboard = false;
  return metric;
}

Metric Optional(Metric metric) {
  metric.nan_is_missing = true;
  return metric;
}

Metric OverRanks(Over over, size_t phase, Metric metric) {
  metric.over = over;
  metric.phase = phase;
  metric.nan_is_missing = true;
  return metric;
}

bool HasRanks(const StepRow& row) { return row.phases[kTotalPhase].max_rank >= 0; }

std::vector<Metric> MakeMetrics() {
  std::vector<Metric> metrics = {
      OfStep("loss", "loss", "", "contrastive loss, mean over the global batch",
             [](const StepRow& row, size_t) { return row.record.loss; }),
      OfStep("lr", "learning rate", "", "learning rate of the step",
             [](const StepRow& row, size_t) { return row.record.lr; }),
      OfStep("logit_scale", "logit scale", "", "exp of the learned scale, at most 100",
             [](const StepRow& row, size_t) { return row.record.logit_scale; }),
      OfStep("grad_norm", "gradient norm", "", "L2 norm of the whole gradient, before clipping",
             [](const StepRow& row, size_t) { return row.record.grad_norm; }),
      Optional(
          OfStep("accuracy_image_to_text", "batch accuracy", "",
                 "share of images whose own text scores highest in the global batch",
                 [](const StepRow& row, size_t) { return row.record.accuracy_image_to_text; })),
      OfStep("samples_per_second", "throughput", "samples/s", "samples trained a second, whole job",
             [](const StepRow& row, size_t) { return row.record.samples_per_second; }),
      NotExported(OfStep(
          "samples_seen", "samples seen", "samples", "samples trained since the run began",
          [](const StepRow& row, size_t) { return static_cast<double>(row.record.samples_seen); })),
      NotExported(
          OfStep("epoch", "epoch", "", "epoch the step belongs to, from 0",
                 [](const StepRow& row, size_t) { return static_cast<double>(row.record.epoch); })),
      NotExported(OfStep(
          "world_size", "ranks", "", "ranks that trained the step",
          [](const StepRow& row, size_t) { return static_cast<double>(row.record.world_size); })),
      NotExported(OfStep("skipped_steps", "skipped steps", "steps",
                         "steps so far whose loss or gradient was not finite, and was not applied",
                         [](const StepRow& row, size_t) {
                           return static_cast<double>(row.record.skipped_steps);
                         })),
      NotExported(OfStep(
          "replaced", "replaced samples", "samples",
          "samples so far that could not be used, and whose places in the order others took",
          [](const StepRow& row, size_t) { return static_cast<double>(row.record.replaced); })),
      NotExported(OfStep("loss_scale", "loss scale", "",
                         "by which fp16's gradients were multiplied; 1 in other formats",
                         [](const StepRow& row, size_t) { return row.record.loss_scale; })),
      NotExported(OfStep("wall_time", "wall time", "s", "Unix time at the end of the step",
                         [](const StepRow& row, size_t) { return row.record.wall_time; })),
  };
  for (size_t phase = 0; phase < kNumPhases; ++phase) {
    const PhaseSpec& spec = Phases()[phase];
    const std::string name = std::string("phase_seconds/") + spec.name;
    metrics.push_back(OverRanks(
        Over::kMedianOfRanks, phase,
        OfStep(name + "/p50", std::string(spec.label) + ", p50", "s",
               std::string(spec.help) + "; median over ranks", [](const StepRow& row, size_t p) {
                 return HasRanks(row) ? static_cast<double>(row.phases[p].p50) : kMissing;
               })));
    metrics.push_back(OverRanks(
        Over::kMaxOfRanks, phase,
        OfStep(name + "/max", std::string(spec.label) + ", max", "s",
               std::string(spec.help) + "; slowest rank", [](const StepRow& row, size_t p) {
                 return HasRanks(row) ? static_cast<double>(row.phases[p].max) : kMissing;
               })));
  }
  metrics.push_back(OverRanks(
      Over::kMaxOfRanks, 0,
      OfStep("lateness_seconds/feature_gather/max", "lateness at the feature gather", "s",
             "how long the first rank waited for the last one: input or forward is slow there",
             [](const StepRow& row, size_t) {
               return HasRanks(row) ? static_cast<double>(row.gather_lateness) : kMissing;
             })));
  metrics.push_back(OverRanks(
      Over::kMaxOfRanks, 0,
      OfStep("lateness_seconds/grad_reduce/max", "lateness at the gradient reduction", "s",
             "how long the first rank waited for the last one: backward is slow there",
             [](const StepRow& row, size_t) {
               return HasRanks(row) ? static_cast<double>(row.reduce_lateness) : kMissing;
             })));
  metrics.push_back(
      OfCheckpoint("checkpoint/write_seconds", "checkpoint write", "s",
                   "from the snapshot to the commit, in the background",
                   [](const CheckpointRecord& record) { return record.write_seconds; }));
  metrics.push_back(OfCheckpoint(
      "checkpoint/stall_seconds", "checkpoint stall", "s", "training stood still for the snapshot",
      [](const CheckpointRecord& record) { return record.stall_seconds; }));
  metrics.push_back(OfCheckpoint(
      "checkpoint/bytes", "checkpoint size", "B", "bytes written by all ranks",
      [](const CheckpointRecord& record) { return static_cast<double>(record.bytes); }));
  return metrics;
}

}  // namespace

const std::array<PhaseSpec, kNumPhases>& Phases() {
  static const std::array<PhaseSpec, kNumPhases> phases = {{
      {"data_wait", "data wait", "waiting for the next batch", &StepTimes::data_wait},
      {"forward", "forward", "both towers, forward", &StepTimes::forward},
      {"feature_gather", "feature gather", "gathering features, with the wait for the last rank",
       &StepTimes::feature_gather},
      {"loss", "loss", "contrastive loss and its gradient", &StepTimes::loss},
      {"backward", "backward", "both towers, backward", &StepTimes::backward},
      {"grad_reduce", "gradient reduce", "reducing gradients, the part backward does not hide",
       &StepTimes::grad_reduce},
      {"optimizer", "optimizer", "the update of the rank's own slice", &StepTimes::optimizer},
      {"weight_gather", "weight gather", "gathering updated weights", &StepTimes::weight_gather},
      {"checkpoint_stall", "checkpoint stall", "snapshot for a checkpoint",
       &StepTimes::checkpoint_stall},
      {"total", "whole step", "the whole step", &StepTimes::total},
  }};
  return phases;
}

std::vector<float> Lateness(const std::vector<StepTimes>& ranks, float StepTimes::*wait) {
  float longest = 0;
  for (const StepTimes& times : ranks) longest = std::max(longest, times.*wait);
  std::vector<float> lateness;
  lateness.reserve(ranks.size());
  for (const StepTimes& times : ranks) lateness.push_back(longest - times.*wait);
  return lateness;
}

StepRow Summarize(const StepRecord& record) {
  StepRow row;
  row.record.step = record.step;
  row.record.epoch = record.epoch;
  row.record.samples_seen = record.samples_seen;
  row.record.wall_time = record.wall_time;
  row.record.loss = record.loss;
  row.record.lr = record.lr;
  row.record.logit_scale = record.logit_scale;
  row.record.grad_norm = record.grad_norm;
  row.record.accuracy_image_to_text = record.accuracy_image_to_text;
  row.record.samples_per_second = record.samples_per_second;
  row.record.world_size = record.world_size;
  row.record.late = record.late;
  row.record.skipped_steps = record.skipped_steps;
  row.record.loss_scale = record.loss_scale;
  row.record.replaced = record.replaced;
  row.record.consumed = record.consumed;
  if (record.over_ranks) {
    static_cast<RankSummary&>(row) = *record.over_ranks;
    return row;
  }
  for (size_t phase = 0; phase < kNumPhases; ++phase) {
    row.phases[phase] = StatsOf(record.ranks, Phases()[phase].field);
  }
  std::tie(row.gather_lateness, row.gather_late_rank) =
      Latest(record.ranks, &StepTimes::feature_gather);
  std::tie(row.reduce_lateness, row.reduce_late_rank) =
      Latest(record.ranks, &StepTimes::grad_reduce);
  return row;
}

const std::vector<Metric>& Metrics() {
  static const std::vector<Metric> metrics = MakeMetrics();
  return metrics;
}

const Metric* FindMetric(const std::string& name) {
  for (const Metric& metric : Metrics()) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

std::vector<std::string> MetricNames() {
  std::vector<std::string> names;
  for (const Metric& metric : Metrics()) names.push_back(metric.name);
  return names;
}

}  // namespace contrail::monitor
