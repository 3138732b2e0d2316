#include "launcher/panel.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "common/clock.h"
#include "common/log.h"

namespace contrail::launcher {
namespace {

constexpr double kInterval = 0.25;

bool Terminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

int Width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Panel::Panel() : live_(Terminal()) {}

Panel::~Panel() { Clear(); }

void Panel::Show(const monitor::RunProgress& progress) {
  const double now = SystemClock().Monotonic();
  if (!live_ || (lines_ > 0 && now - shown_ < kInterval)) return;
  shown_ = now;
  const std::string panel = monitor::FormatPanel(progress, Width(), StderrWantsColor());
  WriteStderr(monitor::RedrawPanel(lines_, panel));
  lines_ = monitor::PanelLines(panel);
}

void Panel::Clear() {
  if (lines_ > 0) WriteStderr(monitor::RedrawPanel(lines_, ""));
  lines_ = 0;
}

}  // namespace contrail::launcher
