#include "monitoring/viewer/commands.h"

#include <cstdio>
#include <cstdlib>

#include "common/error.h"
#include "common/program.h"
#include "common/strings.h"
#include "monitoring/store/rank_times.h"
#include "monitoring/viewer/frame.h"
#include "monitoring/viewer/json.h"
#include "monitoring/viewer/page.h"
#include "monitoring/viewer/terminal.h"

namespace contrail::monitor {
namespace {

constexpr double kRefreshSeconds = 1;

int ShowSeries(const RunDir& run, const RunStore& store, const std::string& name) {
  if (const auto of_rank = ParseRankSeries(name)) {
    Print(RenderSeries(RankSeries(run, store, *of_rank)));
    return kExitDone;
  }
  const Metric* metric = FindMetric(name);
  if (metric == nullptr) {
    const std::vector<std::string> names = MetricNames();
    const std::string nearest = DidYouMean(name, names);
    throw UserError("E-VIEW-SERIES", "--series", "unknown series '" + name + "'",
                    (nearest.empty() ? "" : nearest + " ") + "Known: " + Join(names, ", "));
  }
  Print(RenderSeries(store.Series(*metric)));
  return kExitDone;
}

int ShowLive(const RunDir& run, RunStore& store) {
  FrameOptions options{.color = std::getenv("NO_COLOR") == nullptr};
  Terminal terminal;
  while (true) {
    store.Refresh();
    const Terminal::Size size = terminal.size();
    terminal.Show(RenderFrame(ReadStatus(run, store), size.width, size.height, options));
    switch (terminal.WaitKey(kRefreshSeconds)) {
      case 'q':
      case 'Q':
        return kExitDone;
      case '?':
      case 'h':
        options.help = !options.help;
        break;
      default:
        break;
    }
  }
}

}  // namespace

}  // namespace contrail::monitor

namespace contrail {

int RunViewCommand(const ParsedArgs& args) {
  using namespace monitor;
  if (args.Has("--series") && !args.Has("--json")) {
    throw UserError("E-VIEW-ARGS", "--series", "only goes with --json", "add --json");
  }
  RunDir run{args.positional.at(0)};
  while (run.root.size() > 1 && run.root.back() == '/') run.root.pop_back();
  CheckRunDir(PosixFileSystem(), run.root);
  RunStore store(run);
  if (args.Has("--series")) return ShowSeries(run, store, args.Value("--series"));
  if (args.Has("--json")) {
    Print(RenderJson(ReadStatus(run, store)));
    return kExitDone;
  }
  if (!args.Has("--once") && Terminal::Usable()) return ShowLive(run, store);
  Print(RenderPage(ReadStatus(run, store)));
  return kExitDone;
}

}  // namespace contrail
