#pragma once
// A full-screen terminal session: raw keys in, whole frames out. The screen and the terminal's
// settings come back on every way out: return, exception, signal, crash, stop and continue.

#include <string>

namespace contrail::monitor {

class Terminal {
 public:
  // Whether a session makes sense: stdin and stdout are terminals and TERM is not "dumb".
  static bool Usable();

  Terminal();  // alternate screen, no echo; one at a time in a process
  ~Terminal();
  Terminal(const Terminal&) = delete;

  struct Size {
    int width = 80;
    int height = 24;
  };
  Size size() const;

  // One write. `frame`: lines joined by '\n'.
  void Show(const std::string& frame);

  // Waits up to `seconds` for a key; 0 where none came (time over, resized, continued after a
  // stop). Throws nothing; a signal that ends programs is raised again after the screen is back.
  char WaitKey(double seconds);
};

}  // namespace contrail::monitor
