#include "monitoring/viewer/frame.h"

#include <algorithm>
#include <cmath>

#include "common/strings.h"
#include "monitoring/viewer/canvas.h"
#include "monitoring/viewer/chart.h"
#include "monitoring/viewer/text.h"

namespace contrail::monitor {
namespace {

struct Box {
  int x, y, w, h;
};

Style StateStyle(const std::string& state) {
  if (state == "running" || state == "evaluating" || state == "done") return Style::kGood;
  if (state == "failed" || state == "gave_up") return Style::kBad;
  return Style::kWarn;
}

// A heading with a rule to the right; what is left of the box lies under it.
Box Section(Canvas& canvas, const Box& box, const std::string& title) {
  const int end = canvas.Text(box.x, box.y, title + " ", Style::kTitle);
  for (int x = end; x < box.x + box.w; ++x) canvas.Put(x, box.y, U'\u2500', Style::kDim);
  return {box.x, box.y + 1, box.w, box.h - 1};
}

// Text cut to a box's width, with an ellipsis where something is missing.
void Fit(Canvas& canvas, int x, int y, int width, const std::string& text, Style style) {
  Canvas line(std::max(width, Columns(text)), 1);
  line.Text(0, 0, text);
  const int columns = Columns(text);
  for (int i = 0; i < std::min(columns, width); ++i) {
    canvas.Put(x + i, y, i == width - 1 && columns > width ? U'\u2026' : line.At(i, 0), style);
  }
}

// Breaks at blanks into lines of at most `width` columns; following lines are indented.
std::vector<std::string> Wrap(const std::string& text, int width) {
  std::vector<std::string> lines;
  std::string line;
  for (const std::string& word : Split(text, ' ')) {
    const int needed = Columns(line) + (line.empty() ? 0 : 1) + Columns(word);
    if (needed > width && !Trim(line).empty()) {
      lines.push_back(line);
      line = "  ";
      line += word;
    } else {
      line += (line.empty() || Trim(line).empty() ? "" : " ") + word;
    }
  }
  lines.push_back(line);
  return lines;
}

void DrawHead(Canvas& canvas, const RunStatus& status) {
  int x = canvas.Text(1, 0, status.name, Style::kBold);
  if (!status.model.empty()) x = canvas.Text(x + 2, 0, status.model);
  x = canvas.Text(x + 2, 0, "● " + status.state, StateStyle(status.state));
  std::string who = "attempt " + std::to_string(status.attempt);
  if (status.world_size > 0) {
    who =
        std::to_string(status.world_size) + (status.world_size == 1 ? " rank, " : " ranks, ") + who;
  }
  if (status.restarts > 0) {
    who +=
        ", " + std::to_string(status.restarts) + (status.restarts == 1 ? " restart" : " restarts");
  }
  canvas.TextRight(canvas.width() - 1, 0, who);

  const int bar = std::max(10, canvas.width() / 4);
  x = 1;
  if (status.total_steps > 0) {
    for (int i = 0; i < bar; ++i) canvas.Put(1 + i, 1, U'\u2591', Style::kDim);
    DrawBar(canvas, 1, 1, bar,
            static_cast<double>(status.step) / static_cast<double>(status.total_steps),
            Style::kGood);
    x = bar + 2;
  }
  x = canvas.Text(x, 1, StepOfTotal(status));
  if (status.eta) {
    x = canvas.Text(x + 2, 1, Compact(*status.eta) + " left", Style::kBold);
    if (x + 3 + Columns(status.eta_basis) < canvas.width()) {
      canvas.Text(x + 1, 1, status.eta_basis, Style::kDim);
    }
  } else if (!status.why.empty()) {
    Fit(canvas, x + 2, 1, canvas.width() - x - 3, status.why, Style::kWarn);
  }

  std::string line = Thousands(status.samples_seen) + " samples";
  if (std::isfinite(status.epochs)) line += " (" + Short(status.epochs) + " epochs)";
  line += status.committed_step > 0 ? " · checkpoint " + Thousands(status.committed_step)
                                    : " · no checkpoint yet";
  if (status.risk_steps > 0) {
    line += ", " + Thousands(status.risk_steps) + " steps at risk";
  }
  line += " · " + Compact(status.elapsed) + " elapsed";
  x = canvas.Text(1, 2, line);
  if (status.summary) return;
  const std::string sign = "last sign " + Compact(status.silent) + " ago";
  if (x + 3 + Columns(sign) < canvas.width()) {
    canvas.TextRight(canvas.width() - 1, 2, sign,
                     status.state == "stalled" ? Style::kBad : Style::kDim);
  }
}

void DrawFigures(Canvas& canvas, const Box& outer, const RunStatus& status) {
  const Box box = Section(canvas, outer, "now");
  int y = box.y;
  const auto line = [&](const std::string& name, const std::string& value, Style style) {
    if (y >= box.y + box.h) return;
    canvas.Text(box.x, y, name, Style::kDim);
    Fit(canvas, box.x + 15, y++, box.w - 15, value, style);
  };
  if (!status.has_steps) {
    canvas.Text(box.x, y, "no step recorded yet", Style::kDim);
    return;
  }
  line("loss", Short(status.loss) + ", mean " + Short(status.loss_mean), Style::kBold);
  line("batch accuracy", Percent(status.accuracy), Style::kPlain);
  line("learning rate", Short(status.lr), Style::kPlain);
  line("logit scale", Short(status.logit_scale), Style::kPlain);
  line("gradient norm", Short(status.grad_norm), Style::kPlain);
  line("throughput", Rate(status.samples_per_second) + " samples/s", Style::kBold);
  line("step", Milliseconds(status.step_seconds), Style::kPlain);
  line("data / others", Percent(status.data_share) + " / " + Percent(status.wait_share),
       status.data_share > 0.1 ? Style::kWarn : Style::kPlain);
  line("goodput", Percent(status.goodput), Style::kPlain);
  if (status.nonfinite_steps > 0) {
    line("not finite", Thousands(status.nonfinite_steps) + " steps", Style::kBad);
  }
  if (status.replaced > 0) line("replaced", ReplacedShare(status), Style::kWarn);
  if (status.dropped > 0) {
    line("dropped", Thousands(status.dropped) + " telemetry records", Style::kWarn);
  }
}

void DrawAnatomy(Canvas& canvas, const Box& outer, const RunStatus& status) {
  const Box box = Section(canvas, outer, "step anatomy, p50 and max over ranks");
  double longest = 0;
  for (const PhaseLine& line : status.phases) {
    if (line.phase != kTotalPhase) longest = std::max(longest, line.max);
  }
  constexpr int kName = 17;
  constexpr int kTimes = 20;
  const int bar = box.w - kName - kTimes;
  int y = box.y;
  for (const PhaseLine& line : status.phases) {
    if (y >= box.y + box.h) break;
    if (line.phase == kTotalPhase) continue;
    canvas.Text(box.x, y, Phases()[line.phase].label, Style::kDim);
    if (bar > 2) {
      // The slowest rank's excess in another shade too: colour may be off.
      const auto reach = static_cast<int>(std::lround(line.max / longest * bar));
      const auto median = static_cast<int>(std::lround(line.p50 / longest * bar));
      for (int i = median; i < reach; ++i) {
        canvas.Put(box.x + kName + i, y, U'\u2592', Style::kWarn);
      }
      DrawBar(canvas, box.x + kName, y, bar, line.p50 / longest, Style::kGood);
    }
    canvas.TextRight(box.x + box.w - 10, y, Milliseconds(line.p50));
    canvas.TextRight(box.x + box.w, y, Milliseconds(line.max),
                     line.max > 1.2 * line.p50 ? Style::kWarn : Style::kPlain);
    ++y;
  }
}

struct Note {
  std::string text;
  Style style;
};

std::vector<Note> Notes(const RunStatus& status) {
  std::vector<Note> notes;
  for (const EvalLine& eval : status.evals) notes.push_back({EvalSummary(eval), Style::kGood});
  for (const Straggler& straggler : status.stragglers) {
    notes.push_back({StragglerLine(straggler), Style::kWarn});
  }
  for (auto at = status.incidents.rbegin(); at != status.incidents.rend(); ++at) {
    notes.push_back({IncidentLine(*at), Style::kBad});
    if (const std::string ledger = LedgerLine(*at); !ledger.empty()) {
      notes.push_back({"  " + ledger, Style::kDim});
    }
  }
  for (const TelemetryFileState& file : status.files) {
    if (!file.problem.empty()) notes.push_back({file.name + ": " + file.problem, Style::kWarn});
  }
  for (auto at = status.checkpoints.rbegin(); at != status.checkpoints.rend(); ++at) {
    std::string text = "checkpoint " + Thousands(at->step);
    text += at->on_disk ? " committed" : " removed";
    if (at->recorded) {
      text += ", " + HumanBytes(at->record.bytes) + " in " + Milliseconds(at->record.write_seconds);
    }
    notes.push_back({text, Style::kPlain});
  }
  return notes;
}

void DrawEvents(Canvas& canvas, const Box& outer, const RunStatus& status) {
  const Box box = Section(canvas, outer, "events");
  int y = box.y;
  for (const Note& note : Notes(status)) {
    for (const std::string& line : Wrap(note.text, box.w)) {
      if (y >= box.y + box.h) return;
      Fit(canvas, box.x, y++, box.w, line, note.style);
    }
  }
  if (y == box.y) canvas.Text(box.x, y, "nothing happened yet", Style::kDim);
}

void DrawHelp(Canvas& canvas) {
  const char* const lines[] = {
      "loss           over the global batch; grey: steps undone by a restart",
      "step anatomy   blue: median rank; shaded: slowest rank",
      "data / others  share of a step waiting for input / for other ranks",
      "goodput        share of the elapsed time that trained the result",
      "at risk        steps since the last committed checkpoint, lost if ranks die",
      "comes last     the rank the others wait for: it waits least itself",
      "",
      "q  leave, the run goes on         ?  back",
      "",
      "contrail view RUN --once                  one page",
      "contrail view RUN --json                  for programs",
      "contrail view RUN --json --series loss    every step, exact",
  };
  int y = 2;
  canvas.Text(1, 0, "contrail view", Style::kTitle);
  for (const char* line : lines) canvas.Text(1, y++, line);
}

void DrawSmall(Canvas& canvas, const RunStatus& status) {
  int y = 0;
  canvas.Text(0, y++, status.name + " ● " + status.state, StateStyle(status.state));
  canvas.Text(0, y++, StepOfTotal(status));
  if (status.has_steps) {
    canvas.Text(
        0, y++,
        "loss " + Short(status.loss) + "  " + Rate(status.samples_per_second) + " samples/s");
  }
  if (status.eta) canvas.Text(0, y++, Compact(*status.eta) + " left");
  if (status.committed_step > 0) {
    canvas.Text(0, y++, "checkpoint " + Thousands(status.committed_step));
  }
}

}  // namespace

std::string RenderFrame(const RunStatus& status, int width, int height,
                        const FrameOptions& options) {
  Canvas canvas(width, height);
  if (options.help) {
    DrawHelp(canvas);
  } else if (width < 50 || height < 12) {
    DrawSmall(canvas, status);
    return canvas.ToString(options.color);
  } else {
    DrawHead(canvas, status);
    const int left = width * 11 / 20;
    const int right = width - left - 2;
    const int lower = std::min(std::max((height - 4) / 2, 5), 12);
    const int upper = height - 4 - lower;
    const Box chart = Section(canvas, {1, 3, left - 1, upper}, "loss");
    DrawCurve(canvas, chart.x, chart.y, chart.w, chart.h, status.loss_curve, status.undone_curve);
    DrawFigures(canvas, {left + 1, 3, right, upper}, status);
    DrawAnatomy(canvas, {1, 3 + upper, left - 1, lower}, status);
    DrawEvents(canvas, {left + 1, 3 + upper, right, lower}, status);
  }
  canvas.Text(1, height - 1, "q leave   ? help", Style::kDim);
  return canvas.ToString(options.color);
}

}  // namespace contrail::monitor
