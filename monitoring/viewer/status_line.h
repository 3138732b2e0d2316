#pragma once
// How the launcher shows a run while it supervises: one plain line now and then in a log, or a
// small live panel on a terminal. Structs in, text out.

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace contrail::monitor {

struct RankProgress {
  int rank = 0;
  std::string phase;  // PhaseName() of its progress word
  uint64_t step = 0;  // last finished
  double silent = 0;  // s since its word changed
};

// What a launcher knows from progress words. NaN or 0 where something is not known: it is left out.
struct RunProgress {
  std::string name;               // of the run
  std::string state = "running";  // running | starting | restarting | saving | ...
  uint64_t step = 0;
  uint64_t total_steps = 0;
  double loss = std::numeric_limits<double>::quiet_NaN();
  double lr = std::numeric_limits<double>::quiet_NaN();
  double logit_scale = std::numeric_limits<double>::quiet_NaN();
  double samples_per_second = 0;  // of the whole job
  uint64_t committed_step = 0;    // last committed checkpoint
  double eta_seconds = std::numeric_limits<double>::quiet_NaN();
  double elapsed_seconds = 0;
  int attempt = 1;
  int restarts = 0;
  std::vector<RankProgress> ranks;
  std::vector<double> losses;  // of the steps so far (thinned is fine), for the small curve
  std::string last_event;      // "rank 2 died: ..."
};

// One greppable line of key=value, without the line end:
//   step=1200/50000 loss=3.412 lr=4.9e-04 scale=31.2 samples/s=41.2k ranks=64 ckpt=1000 eta=7h12m
std::string FormatStatusLine(const RunProgress& progress);

// Two to six lines of at most `width` columns, joined by '\n'; SGR colours only with `color`.
std::string FormatPanel(const RunProgress& progress, int width, bool color);

// What to write to a terminal to replace a panel of `previous_lines` lines (0 = none yet) by
// `panel`, in one write. The cursor stays on the line below it, so that after RedrawPanel(n, "")
// ordinary lines can be written and the panel drawn again under them.
std::string RedrawPanel(int previous_lines, const std::string& panel);

// Lines of a panel, as RedrawPanel counts them.
int PanelLines(const std::string& panel);

}  // namespace contrail::monitor
