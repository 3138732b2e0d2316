#include "monitoring/viewer/text.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <ctime>

#include "common/strings.h"

namespace contrail::monitor {
namespace {

__attribute__((format(printf, 1, 2))) std::string Format(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

std::string Plural(int64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace

std::string Thousands(uint64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

std::string Short(double value) { return Format("%.4g", value); }

std::string Rate(double samples_per_second) {
  if (!std::isfinite(samples_per_second)) return "-";
  if (samples_per_second >= 99950) return Format("%.0fk", samples_per_second / 1000);
  if (samples_per_second >= 9995) return Format("%.1fk", samples_per_second / 1000);
  return Format(samples_per_second < 99.5 ? "%.1f" : "%.0f", samples_per_second);
}

std::string Percent(double share) {
  return std::isfinite(share) ? Format("%.1f %%", 100 * share) : "-";
}

std::string Milliseconds(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  if (seconds >= 0.9995) return Format(seconds < 99.95 ? "%.2f s" : "%.0f s", seconds);
  return Format("%.1f ms", seconds * 1000);
}

std::string Compact(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  const auto total = static_cast<long>(std::lround(seconds));
  if (total < 60) return Format("%lds", total);
  if (total < 3600) return Format("%ldm%02lds", total / 60, total % 60);
  if (total < 86400) return Format("%ldh%02ldm", total / 3600, total % 3600 / 60);
  return Format("%ldd%02ldh", total / 86400, total % 86400 / 3600);
}

std::string ClockTime(double unix_seconds) {
  if (!(unix_seconds > 0)) return "-";
  const auto whole = static_cast<time_t>(unix_seconds);
  tm parts{};
  gmtime_r(&whole, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

std::string StepOfTotal(const RunStatus& status) {
  if (status.total_steps == 0) return Plural(static_cast<int64_t>(status.step), "step");
  const double share = static_cast<double>(status.step) / static_cast<double>(status.total_steps);
  return Thousands(status.step) + " / " + Thousands(status.total_steps) + " steps (" +
         Percent(share) + ")";
}

std::string IncidentLine(const Incident& incident) {
  const std::string who = incident.rank >= 0 ? "rank " + std::to_string(incident.rank) : "the job";
  std::string line;
  if (incident.cause == "rank_died") {
    line = who + " died";
  } else if (incident.cause == "rank_hung") {
    line = who + " hung";
  } else if (incident.cause == "start_failed") {
    line = "start failed";
  } else if (incident.cause == "error") {
    line = who + " reported an error";
  } else if (incident.cause == "bad_step" || incident.cause == "bad_steps") {
    line = incident.cause == "bad_step" ? "a bad step" : "bad steps in a row";
  } else if (incident.cause == "checkpoint_damaged") {
    line = "a damaged checkpoint";
  } else if (incident.cause == "checkpoint_stays") {
    line = "an old checkpoint that stays";
  } else if (incident.cause == "replica") {
    line = who + " held corrupt weights";
  } else {
    line = incident.cause.empty() ? "incident" : incident.cause;
  }
  if (!incident.host.empty()) line += " on " + incident.host;
  line += " at step " + std::to_string(incident.step);
  if (!incident.detail.empty()) line += ": " + incident.detail;
  if (incident.action == "restart") {
    line += "; restarted " + (incident.resumed_from > 0
                                  ? "from step " + std::to_string(incident.resumed_from)
                                  : std::string("from the beginning"));
    if (incident.ranks_after > 0) {
      line += " with " + Plural(incident.ranks_after, "rank");
      if (incident.ranks_after != incident.ranks_before) {
        line += " instead of " + std::to_string(incident.ranks_before);
      }
    }
  } else if (incident.action == "skip") {
    line += "; skipped";
  } else if (incident.action == "give_up") {
    line += "; gave up";
  }
  return line;
}

std::string LedgerLine(const Incident& incident) {
  if (!(incident.to_next_step > 0)) return "";
  return Format(
      "%.1f s until the next new step: notice %.1f, stop %.1f, restart %.1f, load %.1f, "
      "train again %.1f s",
      incident.to_next_step, incident.detect, incident.stop, incident.restart, incident.load,
      incident.redone);
}

std::string EvalSummary(const EvalLine& eval) {
  std::string line = eval.task.empty() ? eval.file : eval.task;
  if (!eval.dataset.empty()) line += " on " + eval.dataset;
  line += " at step " + std::to_string(eval.step) + ":";
  std::vector<std::string> figures;
  for (const auto& [name, value] : eval.numbers) {
    // Shares of correct answers; the rest (seconds, counts) is in the file.
    const size_t dot = name.rfind('.');
    const std::string last = dot == std::string::npos ? name : name.substr(dot + 1);
    if (last.find("top") != 0 && last.find("accuracy") != 0 && last.find("recall") != 0) continue;
    std::string spoken = name;
    for (char& c : spoken) c = c == '.' || c == '_' ? ' ' : c;
    figures.push_back(" " + spoken + " " + Percent(value));
  }
  return line + Join(figures, ",");
}

std::string StragglerLine(const Straggler& straggler) {
  return "rank " + std::to_string(straggler.rank) + " comes last to the " + straggler.collective +
         Format(" in %.0f %% of steps, by ", 100 * straggler.share) +
         Milliseconds(straggler.seconds) +
         (straggler.collective == "feature gather" ? ": slow input or forward there"
                                                   : ": slow backward there");
}

std::string ReplacedShare(const RunStatus& status) {
  std::string text = Thousands(status.replaced) + (status.replaced == 1 ? " sample" : " samples");
  if (status.samples_seen > 0) {
    text += Format(", %.2g %% of those seen", 100 * static_cast<double>(status.replaced) /
                                                  static_cast<double>(status.samples_seen));
  }
  return text;
}

}  // namespace contrail::monitor
