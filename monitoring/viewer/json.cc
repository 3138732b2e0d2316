#include "monitoring/viewer/json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "common/strings.h"
#include "monitoring/viewer/text.h"

namespace contrail::monitor {
namespace {

using Json = nlohmann::ordered_json;

Json OrNull(bool known, const Json& value) { return known ? value : Json(); }

Json PhasesJson(const RunStatus& status) {
  Json phases = Json::array();
  for (const PhaseLine& line : status.phases) {
    phases.push_back({{"phase", Phases()[line.phase].name},
                      {"p50_seconds", line.p50},
                      {"max_seconds", line.max},
                      {"slowest_rank", line.worst_rank}});
  }
  return phases;
}

Json CheckpointsJson(const RunStatus& status) {
  Json checkpoints = Json::array();
  for (const CheckpointLine& line : status.checkpoints) {
    Json entry = {{"step", line.step}, {"on_disk", line.on_disk}};
    if (line.recorded) {
      entry["time"] = line.record.wall_time;
      entry["bytes"] = line.record.bytes;
      entry["write_seconds"] = line.record.write_seconds;
      entry["stall_seconds"] = line.record.stall_seconds;
    }
    checkpoints.push_back(entry);
  }
  return checkpoints;
}

Json IncidentsJson(const RunStatus& status) {
  Json incidents = Json::array();
  for (const Incident& incident : status.incidents) {
    incidents.push_back({{"time", incident.time},
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
                         {"ledger",
                          {{"detect", incident.detect},
                           {"stop", incident.stop},
                           {"restart", incident.restart},
                           {"load", incident.load},
                           {"redone", incident.redone},
                           {"to_next_step", incident.to_next_step}}},
                         {"text", IncidentLine(incident)}});
  }
  return incidents;
}

Json SummaryJson(const std::optional<Summary>& summary) {
  if (!summary) return Json();
  return {{"state", summary->state},
          {"steps", summary->steps},
          {"samples_seen", summary->samples_seen},
          {"final_loss", summary->final_loss},
          {"attempts", summary->attempts},
          {"incidents", summary->incidents},
          {"wall_seconds", summary->wall_seconds},
          {"train_seconds", summary->train_seconds},
          {"samples_per_second", summary->samples_per_second},
          {"checkpoints", summary->checkpoints},
          {"replaced", summary->replaced},
          {"eval", Json::parse(summary->eval, nullptr, false)},
          {"message", summary->message}};
}

Json LearningJson(const RunStatus& status) {
  if (!status.has_steps) return Json();
  return {{"loss", status.loss},
          {"loss_mean", status.loss_mean},
          {"lr", status.lr},
          {"logit_scale", status.logit_scale},
          {"grad_norm", status.grad_norm},
          {"accuracy_image_to_text", status.accuracy},
          {"nonfinite_steps", status.nonfinite_steps},
          {"window_steps", status.window}};
}

Json ThroughputJson(const RunStatus& status) {
  if (!status.has_steps) return Json();
  return {{"samples_per_second", status.samples_per_second},
          {"step_seconds", status.step_seconds},
          {"data_share", status.data_share},
          {"wait_share", status.wait_share},
          {"goodput", status.goodput}};
}

Json StragglersJson(const RunStatus& status) {
  Json stragglers = Json::array();
  for (const Straggler& straggler : status.stragglers) {
    stragglers.push_back({{"rank", straggler.rank},
                          {"collective", straggler.collective},
                          {"share", straggler.share},
                          {"seconds", straggler.seconds}});
  }
  return stragglers;
}

Json LateJson(const RunStatus& status) {
  Json late = Json::array();
  for (const RunStatus::Late& one : status.late) {
    late.push_back({{"step", one.step},
                    {"rank", one.arrival.rank},
                    {"operation", OperationName(one.arrival.operation)},
                    {"ordinal", one.arrival.ordinal},
                    {"collective", one.arrival.collective},
                    {"seconds", one.arrival.seconds}});
  }
  return late;
}

Json TelemetryJson(const RunStatus& status) {
  Json files = Json::array();
  for (const TelemetryFileState& file : status.files) {
    files.push_back({{"name", file.name},
                     {"bytes", file.bytes},
                     {"torn_bytes", file.torn_bytes},
                     {"problem", file.problem}});
  }
  return {{"dropped_records", status.dropped},
          {"superseded_steps", status.superseded},
          {"files", files},
          {"series", MetricNames()}};
}

}  // namespace

std::string RenderJson(const RunStatus& status) {
  Json json = {
      {"run", status.root},
      {"name", status.name},
      {"model", status.model},
      {"state", status.state},
      {"why", status.why},
      {"step", status.step},
      {"total_steps", OrNull(status.total_steps > 0, status.total_steps)},
      {"samples_seen", status.samples_seen},
      {"epochs", status.epochs},
      {"attempt", status.attempt},
      {"restarts", status.restarts},
      {"trained_again_steps", status.trained_again},
      {"world_size", status.world_size},
      {"elapsed_seconds", status.elapsed},
      {"silent_seconds", status.silent},
      {"eta_seconds", status.eta ? Json(*status.eta) : Json()},
      {"eta_basis", status.eta_basis},
      {"committed_step", OrNull(status.committed_step > 0, status.committed_step)},
      {"at_risk_steps", status.risk_steps},
      {"at_risk_seconds", status.risk_seconds},
      {"learning", LearningJson(status)},
      {"throughput", ThroughputJson(status)},
      {"phases", PhasesJson(status)},
      {"stragglers", StragglersJson(status)},
      {"late", LateJson(status)},
      {"replaced", {{"samples", status.replaced}, {"newest", status.last_replaced}}},
      {"checkpoints", CheckpointsJson(status)},
      {"incidents", IncidentsJson(status)},
      {"summary", SummaryJson(status.summary)},
      {"telemetry", TelemetryJson(status)},
  };
  Json evals = Json::array();
  for (const EvalLine& eval : status.evals) {
    Json entry = Json::parse(eval.json, nullptr, false);
    entry["file"] = eval.file;
    evals.push_back(std::move(entry));
  }
  json["eval"] = std::move(evals);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string RenderSeries(const std::vector<SeriesPoint>& points) {
  std::string out;
  for (const SeriesPoint& point : points) {
    out += "{\"step\":" + std::to_string(point.step) + ",\"value\":";
    if (std::isnan(point.value)) {
      out += "\"NaN\"";
    } else if (std::isinf(point.value)) {
      out += point.value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    } else {
      out += ExactDouble(point.value);
    }
    out += "}\n";
  }
  return out;
}

}  // namespace contrail::monitor
