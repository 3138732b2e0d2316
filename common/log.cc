#include "common/log.h"

#include <unistd.h>

#include <cstdlib>
#include <string>

namespace contrail {
namespace {

std::string& Tag() {
  static std::string tag;
  return tag;
}

void WriteLine(std::string_view level, std::string_view line) {
  std::string out;
  if (!Tag().empty()) out += "[" + Tag() + "] ";
  out += level;
  out += line;
  out += '\n';
  // A failed write to stderr has nowhere to be reported.
  [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, out.data(), out.size());
}

}  // namespace

void SetLogTag(std::string_view tag) { Tag() = tag; }
void LogInfo(std::string_view line) { WriteLine("", line); }
void LogWarning(std::string_view line) { WriteLine("warning: ", line); }
void LogError(std::string_view line) { WriteLine("error: ", line); }

bool StderrWantsColor() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr && term != nullptr &&
         std::string_view(term) != "dumb";
}

}  // namespace contrail
