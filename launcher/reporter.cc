#include "launcher/reporter.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "common/clock.h"
#include "common/log.h"

namespace contrail::launcher {
namespace {

constexpr size_t kCurvePoints = 240;

// As many digits as people read; exact values are in the telemetry.
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

std::string StepText(std::optional<uint64_t> step) {
  return step ? std::to_string(*step) : "unknown";
}

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

// " one_prompt.top1=0.82 samples=10000": the numbers of an evaluation, not its lists and texts.
std::string Scalars(const nlohmann::json& value, const std::string& path) {
  if (value.is_number_integer()) return " " + path + "=" + value.dump();
  if (value.is_number()) return " " + path + "=" + Short(value.get<double>());
  std::string out;
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) {
      out += Scalars(item, path.empty() ? key : path + "." + key);
    }
  }
  return out;
}

}  // namespace

Reporter::Reporter(std::string run, double status_seconds)
    : run_(std::move(run)), status_seconds_(status_seconds), begin_(SystemClock().Monotonic()) {
  progress_.name = run_.substr(run_.rfind('/') + 1);
}

void Reporter::Event(const std::string& text) {
  panel_.Clear();
  LogInfo("contrail: " + text);
}

void Reporter::Started(int attempt, int ranks, int64_t threads, std::optional<uint64_t> from_step) {
  if (first_attempt_ == 0) first_attempt_ = attempt;
  from_step_ = from_step;
  training_said_ = false;
  changed_.clear();
  progress_.state = "starting";
  progress_.attempt = attempt;
  progress_.restarts = attempt - first_attempt_;
  progress_.committed_step = from_step.value_or(0);
  progress_.eta_seconds = std::nan("");
  progress_.ranks.clear();
  Event("started run=" + run_ + " attempt=" + std::to_string(attempt) +
        " ranks=" + std::to_string(ranks) + " threads=" + std::to_string(threads) +
        " from_step=" + StepText(from_step));
}

void Reporter::UpdateProgress(const JobView& view) {
  progress_.elapsed_seconds = view.now - begin_;
  progress_.total_steps = view.total_steps;
  progress_.samples_per_second = view.samples_per_second;
  progress_.ranks.clear();
  for (const RankView& rank : view.ranks) {
    progress_.ranks.push_back({rank.rank, monitor::PhaseName(rank.phase), rank.step,
                               std::max(0.0, view.now - rank.time)});
  }
  if (view.first_step == 0) return;
  progress_.loss = view.loss;
  if (progress_.state == "starting") progress_.state = "running";
  if (view.step > progress_.step || !training_said_) {
    progress_.losses.push_back(view.loss);
    if (progress_.losses.size() > 2 * kCurvePoints) {  // keep every other one
      for (size_t i = 0; i < kCurvePoints; ++i) progress_.losses[i] = progress_.losses[2 * i];
      progress_.losses.resize(kCurvePoints);
    }
  }
  progress_.step = view.step;
  if (view.step > view.first_step && view.total_steps >= view.step) {
    progress_.eta_seconds = (view.now - view.first_step_time) *
                            static_cast<double>(view.total_steps - view.step) /
                            static_cast<double>(view.step - view.first_step);
  }
}

void Reporter::See(const JobView& view) {
  UpdateProgress(view);
  // What the launcher could not tell the ranks know: the first step in their words is where they
  // went on.
  if (!from_step_ && view.committed_step > 0) {
    from_step_ = progress_.committed_step = view.committed_step;
  }
  if (view.committed_step > progress_.committed_step) {
    progress_.committed_step = view.committed_step;
    Event("checkpoint step=" + std::to_string(view.committed_step));
  }
  if (view.first_step > 0 && !training_said_) {
    training_said_ = true;
    last_status_ = 0;
    // Steps may be shorter than the time between two looks. A worker that fell back to an older
    // checkpoint is seen below the step it was sent to.
    const uint64_t resumed = std::min(view.step, from_step_.value_or(0) + 1);
    // By now a fresh run may have done steps, too.
    if (from_step_.value_or(0) > 0) Event("resumed step=" + std::to_string(resumed));
  }
  if (panel_.live()) {
    panel_.Show(progress_);
  } else if (training_said_ && view.now - last_status_ >= status_seconds_) {
    last_status_ = view.now;
    Event("progress " + monitor::FormatStatusLine(progress_));
  }
}

void Reporter::Failed(const Failure& failure, const AttemptEnd& end) {
  progress_.last_event = std::string(CauseName(failure.cause)) + ": rank " +
                         std::to_string(failure.rank) + " " + failure.detail;
  Event(std::string(CauseName(failure.cause)) + " rank=" + std::to_string(failure.rank) +
        " host=" + failure.host + " step=" + std::to_string(failure.step) +
        " detect_seconds=" + Seconds(end.noticed - end.last_sign) +
        " stop_seconds=" + Seconds(end.gone - end.noticed) + " detail=" + Quoted(failure.detail));
  if (end.lingering) {
    LogWarning("some processes did not end within 20 s of SIGKILL: they are blocked in I/O");
  }
}

void Reporter::Replaced(const std::string& text) {
  progress_.last_event = "replaced " + text;
  Event("replaced " + text);
}

void Reporter::Restarting(int attempt, std::optional<uint64_t> from_step, double backoff) {
  progress_.state = "restarting";
  Event("restarting attempt=" + std::to_string(attempt) + " from_step=" + StepText(from_step) +
        " backoff_seconds=" + Short(backoff));
}

void Reporter::Recovered(const monitor::Incident& incident) {
  Event("recovered attempt=" + std::to_string(incident.attempt) +
        " seconds=" + Seconds(incident.to_next_step) + " detect=" + Seconds(incident.detect) +
        " stop=" + Seconds(incident.stop) + " restart=" + Seconds(incident.restart) +
        " load=" + Seconds(incident.load) + " redone=" + Seconds(incident.redone));
}

void Reporter::Noted(const monitor::Incident& incident) {
  progress_.last_event = incident.cause + ": " + incident.detail;
  Event(incident.cause + " step=" + std::to_string(incident.step) +
        (incident.rank >= 0 ? " rank=" + std::to_string(incident.rank) : "") +
        (incident.host.empty() ? "" : " host=" + incident.host) +
        " detail=" + Quoted(incident.detail));
}

void Reporter::Stopping(const std::string& signal) {
  progress_.state = "saving";
  Event("stopping signal=" + signal);
}

void Reporter::Evaluating(const std::string& dataset) { Event("evaluating dataset=" + dataset); }

void Reporter::Closing(const monitor::Summary& summary) {
  Event(summary.state + " run=" + run_ + " steps=" + std::to_string(summary.steps) +
        " loss=" + Short(summary.final_loss) +
        (summary.samples_per_second > 0 ? " samples_per_second=" + Short(summary.samples_per_second)
                                        : "") +
        " checkpoints=" + std::to_string(summary.checkpoints) + " attempts=" +
        std::to_string(summary.attempts) + " incidents=" + std::to_string(summary.incidents) +
        " wall_seconds=" + Seconds(summary.wall_seconds));
  const nlohmann::json results = nlohmann::json::parse(summary.eval, nullptr, false);
  for (const auto& [name, result] : results.items()) {
    Event("evaluation " + name + Scalars(result, ""));
  }
}

}  // namespace contrail::launcher
