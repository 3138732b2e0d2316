#include "monitoring/viewer/page.h"

#include <cmath>
#include <cstdio>

#include "common/escape.h"
#include "common/strings.h"
#include "monitoring/viewer/chart.h"
#include "monitoring/viewer/text.h"

namespace contrail::monitor {
namespace {

constexpr size_t kShownCheckpoints = 5;

void Line(std::string& page, const std::string& name, const std::string& value) {
  std::string label = "  " + name;
  label.resize(std::max<size_t>(label.size() + 1, 18), ' ');
  page += label + Escape(value) + "\n";
}

void Heading(std::string& page, const std::string& title) { page += "\n" + title + "\n"; }

std::string Steps(size_t count) {
  return std::to_string(count) + (count == 1 ? " step" : " steps");
}

std::string Column(const std::string& text, size_t width) {
  return std::string(width - std::min(width, static_cast<size_t>(Columns(text))), ' ') + text;
}

void Head(std::string& page, const RunStatus& status) {
  page += Escape(status.name + (status.model.empty() ? "" : "  " + status.model) + "  " +
                 status.state) +
          "\n";
  if (!status.why.empty()) page += "  " + Escape(status.why) + "\n";
  Line(page, "step", StepOfTotal(status));
  std::string samples = Thousands(status.samples_seen);
  if (std::isfinite(status.epochs)) samples += ", " + Short(status.epochs) + " epochs";
  Line(page, "samples seen", samples);
  Line(page, "ranks",
       std::to_string(status.world_size) + "; attempt " + std::to_string(status.attempt) + ", " +
           std::to_string(status.restarts) + (status.restarts == 1 ? " restart" : " restarts"));
  Line(
      page, "elapsed",
      HumanSeconds(status.elapsed) + "; last sign of life " + HumanSeconds(status.silent) + " ago");
  if (status.eta) Line(page, "time left", HumanSeconds(*status.eta) + ", " + status.eta_basis);
  std::string checkpoint = status.committed_step > 0
                               ? "step " + Thousands(status.committed_step) + " committed"
                               : "none committed";
  if (status.risk_steps > 0) {
    checkpoint += "; at risk: " + Thousands(status.risk_steps) +
                  (status.risk_steps == 1 ? " step, " : " steps, ") +
                  HumanSeconds(status.risk_seconds) + " of training";
  }
  Line(page, "checkpoint", checkpoint);
}

void Learning(std::string& page, const RunStatus& status) {
  Heading(page, "Learning");
  Line(page, "loss",
       Short(status.loss) + ", mean of the last " + Steps(status.window) + " " +
           Short(status.loss_mean));
  std::vector<double> means;
  for (const CurveBucket& bucket : status.loss_curve) means.push_back(bucket.mean);
  if (means.size() > 1) Line(page, "", Sparkline(means, 60));
  Line(page, "learning rate", Short(status.lr));
  Line(page, "logit scale", Short(status.logit_scale));
  Line(page, "gradient norm", Short(status.grad_norm));
  if (std::isfinite(status.accuracy)) Line(page, "batch accuracy", Percent(status.accuracy));
  if (status.nonfinite_steps > 0) {
    Line(page, "not finite",
         Thousands(status.nonfinite_steps) +
             " steps have a loss that is no "
             "number");
  }
  if (status.replaced > 0) {
    Line(page, "replaced", ReplacedShare(status) + "; replaced.jsonl lists them");
    if (!status.last_replaced.empty()) Line(page, "", "newest: " + status.last_replaced);
  }
}

void Throughput(std::string& page, const RunStatus& status) {
  Heading(page, "Throughput");
  std::string rate = Rate(status.samples_per_second) + " samples/s";
  if (status.world_size > 1) {
    rate += ", " + Rate(status.samples_per_second / status.world_size) + " a rank";
  }
  Line(page, "rate", rate);
  Line(page, "step", Milliseconds(status.step_seconds));
  if (!status.phases.empty()) {
    Line(page, "share of a step",
         "waiting for data " + Percent(status.data_share) + ", for other ranks and transfers " +
             Percent(status.wait_share));
  }
  Line(page, "goodput", Percent(status.goodput) + " of the elapsed time trained the result");
  if (status.dropped > 0) {
    Line(page, "telemetry", Thousands(status.dropped) + " records were dropped");
  }
}

void Anatomy(std::string& page, const RunStatus& status) {
  if (status.phases.empty()) return;
  Heading(page, "Step anatomy (over ranks, median of the last " + Steps(status.window) + ")");
  page += "  " + std::string(18, ' ') + "       p50        max  slowest\n";
  for (const PhaseLine& line : status.phases) {
    std::string label = Phases()[line.phase].label;
    label.resize(18, ' ');
    page += "  " + label + Column(Milliseconds(line.p50), 10) + " " +
            Column(Milliseconds(line.max), 10) + "  rank " + std::to_string(line.worst_rank) + "\n";
  }
  for (const Straggler& straggler : status.stragglers)
    page += "  " + StragglerLine(straggler) + "\n";
}

void Checkpoints(std::string& page, const RunStatus& status) {
  if (status.checkpoints.empty()) return;
  Heading(page, "Checkpoints");
  size_t first = status.checkpoints.size();
  first -= std::min(first, kShownCheckpoints);
  if (first > 0) page += "  " + std::to_string(first) + " earlier\n";
  for (size_t i = first; i < status.checkpoints.size(); ++i) {
    const CheckpointLine& line = status.checkpoints[i];
    std::string text =
        "  step " + Thousands(line.step) + "  " + (line.on_disk ? "committed" : "removed");
    if (line.recorded) {
      text += ", " + HumanBytes(line.record.bytes) + " in " +
              Milliseconds(line.record.write_seconds) + ", training stood still for " +
              Milliseconds(line.record.stall_seconds);
    }
    page += text + "\n";
  }
}

void Incidents(std::string& page, const RunStatus& status) {
  if (status.incidents.empty()) return;
  Heading(page, "Incidents");
  for (const Incident& incident : status.incidents) {
    page += "  " + ClockTime(incident.time) + "  " + Escape(IncidentLine(incident)) + "\n";
    if (const std::string ledger = LedgerLine(incident); !ledger.empty()) {
      page += "    " + ledger + "\n";
    }
  }
  if (status.trained_again > 0) {
    page += "  " + Thousands(status.trained_again) +
            (status.trained_again == 1 ? " step was" : " steps were") + " trained again\n";
  }
}

void Rest(std::string& page, const RunStatus& status) {
  if (!status.evals.empty()) {
    Heading(page, "Evaluation");
    for (const EvalLine& eval : status.evals) page += "  " + Escape(EvalSummary(eval)) + "\n";
  }
  bool headed = false;
  for (const TelemetryFileState& file : status.files) {
    if (file.problem.empty()) continue;
    if (!headed) Heading(page, "Telemetry files");
    headed = true;
    page += "  " + Escape(file.name + ": " + file.problem) + "\n";
  }
}

}  // namespace

std::string RenderPage(const RunStatus& status) {
  std::string page;
  Head(page, status);
  if (status.has_steps) {
    Learning(page, status);
    Throughput(page, status);
    Anatomy(page, status);
  } else {
    page += "\n  no step recorded yet\n";
  }
  Checkpoints(page, status);
  Incidents(page, status);
  Rest(page, status);
  return page;
}

}  // namespace contrail::monitor
