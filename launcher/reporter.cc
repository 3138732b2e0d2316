#include "launcher/reporter.h"

#include <cstdio>

#include "common/log.h"
#include "common/strings.h"

namespace contrail::launcher {
namespace {

// "loss" with as many digits as people read; exact values are in the telemetry.
std::string Short(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string Seconds(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

}  // namespace

Reporter::Reporter(std::string run, double status_seconds, int64_t global_batch_size)
    : run_(std::move(run)),
      status_seconds_(status_seconds),
      global_batch_size_(global_batch_size) {}

void Reporter::Event(const std::string& text) { LogInfo("contrail: " + text); }

void Reporter::Started(int attempt, int ranks, int64_t threads, uint64_t from_step) {
  attempt_ = attempt;
  ranks_ = ranks;
  from_step_ = from_step;
  committed_ = from_step;
  first_step_ = true;
  up_ = false;
  Event("started run=" + run_ + " attempt=" + std::to_string(attempt) +
        " ranks=" + std::to_string(ranks) + " threads=" + std::to_string(threads) +
        " from_step=" + std::to_string(from_step));
}

void Reporter::See(const JobView& view) {
  if (view.committed_step > committed_) {
    committed_ = view.committed_step;
    Event("checkpoint step=" + std::to_string(committed_));
  }
  if (view.step == 0) return;
  if (first_step_) {
    first_step_ = false;
    last_status_ = 0;
    if (from_step_ > 0) Event("resumed step=" + std::to_string(view.step));
  }
  if (view.now - last_status_ < status_seconds_) return;
  last_status_ = view.now;
  Event("progress step=" + std::to_string(view.step) + "/" + std::to_string(view.total_steps) +
        " loss=" + Short(view.loss) + " samples_per_second=" + Short(view.samples_per_second) +
        " committed=" + std::to_string(committed_) + " ranks=" + std::to_string(ranks_) +
        " attempt=" + std::to_string(attempt_));
}

void Reporter::Failed(const Failure& failure, const AttemptEnd& end) {
  Event(std::string(CauseName(failure.cause)) + " rank=" + std::to_string(failure.rank) +
        " host=" + failure.host + " step=" + std::to_string(failure.step) +
        " detect_seconds=" + Seconds(end.noticed - end.last_sign) +
        " stop_seconds=" + Seconds(end.gone - end.noticed) + " detail=" + Quoted(failure.detail));
  if (end.lingering) {
    LogWarning("some processes of the attempt did not end within 20 s of SIGKILL (blocked in I/O)");
  }
}

void Reporter::Restarting(int attempt, uint64_t from_step, double backoff) {
  Event("restarting attempt=" + std::to_string(attempt) +
        " from_step=" + std::to_string(from_step) + " backoff_seconds=" + Short(backoff));
}

void Reporter::Recovered(const monitor::Incident& incident) {
  Event("recovered attempt=" + std::to_string(incident.attempt) +
        " seconds=" + Seconds(incident.to_next_step) + " detect=" + Seconds(incident.detect) +
        " stop=" + Seconds(incident.stop) + " restart=" + Seconds(incident.restart) +
        " load=" + Seconds(incident.load) + " redone=" + Seconds(incident.redone));
}

void Reporter::Stopping(const std::string& signal) {
  Event("stopping signal=" + signal + " (saving a checkpoint; Ctrl-C stops at once)");
}

void Reporter::Closing(const monitor::Summary& summary) {
  Event(summary.state + " run=" + run_ + " steps=" + std::to_string(summary.steps) + " loss=" +
        Short(summary.final_loss) + " samples_per_second=" + Short(summary.samples_per_second) +
        " checkpoints=" + std::to_string(summary.checkpoints) + " attempts=" +
        std::to_string(summary.attempts) + " incidents=" + std::to_string(summary.incidents) +
        " wall_seconds=" + Short(summary.wall_seconds));
  if (summary.eval != "{}") Event("evaluation " + summary.eval);
}

}  // namespace contrail::launcher
