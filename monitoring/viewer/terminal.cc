#include "monitoring/viewer/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace contrail::monitor {
namespace {

constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[2J";
constexpr std::string_view kLeave = "\x1b[0m\x1b[?25h\x1b[?1049l";
constexpr int kEnding[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
constexpr int kCrashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

termios saved;
volatile sig_atomic_t ending = 0;    // a signal to end with
volatile sig_atomic_t stopping = 0;  // Ctrl-Z

void WriteAll(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // the terminal is gone
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void Enter() {
  termios raw = saved;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);  // Ctrl-C and Ctrl-Z stay signals
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  WriteAll(kEnter);
}

// Safe in a signal handler.
void Leave() {
  WriteAll(kLeave);
  tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

void OnEnding(int signal) { ending = signal; }
void OnStop(int) { stopping = 1; }
void OnResize(int) {}  // only wakes the wait

void OnCrash(int signal) {
  Leave();
  ::raise(signal);  // SA_RESETHAND: the default action now
}

void Handle(int signal, void (*handler)(int), int flags = 0) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

void EndBySignal(int signal) {
  Leave();
  Handle(signal, SIG_DFL);
  ::raise(signal);
}

void StopByKey() {
  stopping = 0;
  Leave();
  ::raise(SIGSTOP);  // back here when continued
  Enter();
}

}  // namespace

bool Terminal::Usable() {
  const char* term = std::getenv("TERM");
  return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term != nullptr && *term != '\0' &&
         std::strcmp(term, "dumb") != 0;
}

Terminal::Terminal() {
  tcgetattr(STDIN_FILENO, &saved);
  for (const int signal : kEnding) Handle(signal, OnEnding);
  for (const int signal : kCrashes) Handle(signal, OnCrash, SA_RESETHAND | SA_NODEFER);
  Handle(SIGTSTP, OnStop);
  Handle(SIGWINCH, OnResize);
  Enter();
}

Terminal::~Terminal() {
  Leave();
  for (const int signal : kEnding) Handle(signal, SIG_DFL);
  for (const int signal : kCrashes) Handle(signal, SIG_DFL);
  Handle(SIGTSTP, SIG_DFL);
  Handle(SIGWINCH, SIG_DFL);
}

Terminal::Size Terminal::size() const {
  winsize window{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0) return {};
  return {window.ws_col, window.ws_row};
}

void Terminal::Show(const std::string& frame) {
  std::string out = "\x1b[H";
  for (const char c : frame) {
    if (c == '\n') out += "\x1b[K\r";
    out += c;
  }
  WriteAll(out + "\x1b[K\x1b[J");
}

char Terminal::WaitKey(double seconds) {
  pollfd keys{STDIN_FILENO, POLLIN, 0};
  const int ready = ending || stopping ? 0 : ::poll(&keys, 1, static_cast<int>(seconds * 1000));
  if (ending) EndBySignal(ending);
  if (stopping) StopByKey();
  if (ready <= 0) return 0;
  char key = 0;
  if (::read(STDIN_FILENO, &key, 1) == 1) return key;
  if (keys.revents & (POLLHUP | POLLERR)) EndBySignal(SIGHUP);  // the terminal is gone
  return 0;
}

}  // namespace contrail::monitor
