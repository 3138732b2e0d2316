#pragma once
// The live panel under the event lines of a terminal; nothing where stderr is none.

#include <string>

#include "monitoring/viewer/status_line.h"

namespace contrail::launcher {

class Panel {
 public:
  Panel();
  ~Panel();  // leaves the terminal without it

  bool live() const { return live_; }
  void Show(const monitor::RunProgress& progress);  // drawn at most four times a second
  void Clear();                                     // before ordinary lines; Show draws it again

 private:
  const bool live_;
  int lines_ = 0;
  double shown_ = 0;
};

}  // namespace contrail::launcher
