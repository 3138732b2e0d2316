#include "monitoring/viewer/status_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "monitoring/viewer/canvas.h"
#include "monitoring/viewer/chart.h"
#include "monitoring/viewer/text.h"

namespace contrail::monitor {
namespace {

constexpr size_t kRanksShown = 8;
constexpr double kSilent = 5;  // s: worth showing

std::string Number(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

Style RankStyle(const RankProgress& rank) {
  if (rank.phase == "failed") return Style::kBad;
  return rank.silent > kSilent && rank.phase == "training" ? Style::kWarn : Style::kPlain;
}

void DrawRanks(Canvas& canvas, int y, const RunProgress& progress) {
  // Few ranks by name; of many only the ones that stand out.
  int x = canvas.Text(1, y, "ranks ", Style::kDim);
  size_t shown = 0;
  for (const RankProgress& rank : progress.ranks) {
    const Style style = RankStyle(rank);
    if (progress.ranks.size() > kRanksShown && style == Style::kPlain) continue;
    if (++shown > kRanksShown) break;
    std::string text = std::to_string(rank.rank) + ":";
    text += rank.phase == "training" ? std::to_string(rank.step) : rank.phase;
    if (style == Style::kWarn) text += " (silent " + Compact(rank.silent) + ")";
    x = canvas.Text(x, y, text + "  ", style);
  }
  if (progress.ranks.size() > kRanksShown && shown == 0) {
    canvas.Text(x, y, "all " + std::to_string(progress.ranks.size()) + " in step");
  }
}

}  // namespace

std::string FormatStatusLine(const RunProgress& progress) {
  std::string line = "step=" + std::to_string(progress.step);
  if (progress.total_steps > 0) line += "/" + std::to_string(progress.total_steps);
  if (progress.state != "running") line += " state=" + progress.state;
  if (!std::isnan(progress.loss)) line += " loss=" + Number("%.4g", progress.loss);
  if (!std::isnan(progress.lr)) line += " lr=" + Number("%.2e", progress.lr);
  if (!std::isnan(progress.logit_scale)) line += " scale=" + Number("%.1f", progress.logit_scale);
  if (progress.samples_per_second > 0) line += " samples/s=" + Rate(progress.samples_per_second);
  if (!progress.ranks.empty()) line += " ranks=" + std::to_string(progress.ranks.size());
  if (progress.attempt > 1) line += " attempt=" + std::to_string(progress.attempt);
  if (progress.committed_step > 0) line += " ckpt=" + std::to_string(progress.committed_step);
  if (std::isfinite(progress.eta_seconds)) line += " eta=" + Compact(progress.eta_seconds);
  return line;
}

std::string FormatPanel(const RunProgress& progress, int width, bool color) {
  const int w = std::max(width, 20);
  Canvas canvas(w, 6);
  int x = canvas.Text(1, 0, progress.name, Style::kBold);
  x = canvas.Text(x + 1, 0, "● " + progress.state,
                  progress.state == "running" ? Style::kGood : Style::kWarn);
  x = canvas.Text(x + 2, 0, Compact(progress.elapsed_seconds));
  if (progress.attempt > 1) {
    canvas.Text(x + 2, 0, "attempt " + std::to_string(progress.attempt), Style::kWarn);
  }

  int y = 1;
  if (progress.total_steps > 0) {
    const int bar = w / 2 - 2;
    for (int i = 0; i < bar; ++i) canvas.Put(1 + i, y, U'\u2591', Style::kDim);
    const double share =
        static_cast<double>(progress.step) / static_cast<double>(progress.total_steps);
    DrawBar(canvas, 1, y, bar, share, Style::kGood);
    x = canvas.Text(bar + 2, y,
                    std::to_string(progress.step) + " / " + std::to_string(progress.total_steps));
    if (std::isfinite(progress.eta_seconds)) {
      canvas.Text(x + 2, y, Compact(progress.eta_seconds) + " left", Style::kBold);
    }
    ++y;
  }
  x = 1;
  if (!std::isnan(progress.loss)) x = canvas.Text(x, y, "loss " + Short(progress.loss) + "  ");
  if (progress.samples_per_second > 0) {
    x = canvas.Text(x, y, Rate(progress.samples_per_second) + " samples/s  ");
  }
  if (progress.committed_step > 0) {
    x = canvas.Text(x, y, "checkpoint " + std::to_string(progress.committed_step) + "  ");
  }
  if (w - x > 8) canvas.Text(x, y, Sparkline(progress.losses, w - x - 1), Style::kCurve);
  ++y;
  if (!progress.ranks.empty()) DrawRanks(canvas, y++, progress);
  if (!progress.last_event.empty()) canvas.Text(1, y++, progress.last_event, Style::kWarn);

  std::string text = canvas.ToString(color);
  size_t end = 0;
  for (int line = 0; line < y && end != std::string::npos; ++line) {
    end = text.find('\n', end + (line > 0));
  }
  return text.substr(0, end);
}

std::string RedrawPanel(int previous_lines, const std::string& panel) {
  std::string out;
  if (previous_lines > 0) out = "\x1b[" + std::to_string(previous_lines) + "A";
  out += "\r";
  for (const char c : panel) {
    if (c == '\n') out += "\x1b[K\r";
    out += c;
  }
  if (!panel.empty()) out += "\x1b[K\r\n";
  return out + "\x1b[J";
}

int PanelLines(const std::string& panel) {
  if (panel.empty()) return 0;
  return static_cast<int>(std::count(panel.begin(), panel.end(), '\n')) + 1;
}

}  // namespace contrail::monitor
