#include "common/log.h"

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "common/escape.h"

namespace contrail {
namespace {

std::string& Tag() {
  static std::string tag;
  return tag;
}

void WriteLine(std::string_view level, std::string_view line) {
  std::string out;
  if (!Tag().empty()) out += "[" + Escape(Tag()) + "] ";
  out += level;
  out += Escape(line);
  out += '\n';
  WriteStderr(std::move(out));
}

struct Way {
  std::mutex mutex;  // guards the pointer
  std::shared_ptr<const StderrWriter> writer;
};

Way& WayToStderr() {
  static Way* const way = new Way;  // threads may log until the process is gone
  return *way;
}

}  // namespace

void SetLogTag(std::string_view tag) { Tag() = tag; }
void LogInfo(std::string_view line) { WriteLine("", line); }
void LogWarning(std::string_view line) { WriteLine("warning: ", line); }
void LogError(std::string_view line) { WriteLine("error: ", line); }

void WriteStderr(std::string text) {
  std::shared_ptr<const StderrWriter> writer;
  {
    const std::lock_guard<std::mutex> lock(WayToStderr().mutex);
    writer = WayToStderr().writer;
  }
  if (writer) return (*writer)(std::move(text));
  // A failed write to stderr has nowhere to be reported.
  [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
}

void SetStderrWriter(StderrWriter writer) {
  auto next = writer ? std::make_shared<const StderrWriter>(std::move(writer)) : nullptr;
  const std::lock_guard<std::mutex> lock(WayToStderr().mutex);
  WayToStderr().writer = std::move(next);
}

bool StderrWantsColor() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr && term != nullptr &&
         std::string_view(term) != "dumb";
}

}  // namespace contrail
