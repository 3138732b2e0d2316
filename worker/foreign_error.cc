#include "worker/foreign_error.h"

#include <c10/util/Exception.h>

#include <array>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

namespace contrail::worker {
namespace {

// LibTorch appends a stack trace; the first line says what is wrong.
std::string FirstLine(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

bool SpeaksOfMemory(std::string_view text) {
  constexpr std::array<std::string_view, 3> kWords = {"can't allocate memory", "out of memory",
                                                      "Cannot allocate memory"};
  for (const std::string_view words : kWords) {
    if (text.find(words) != text.npos) return true;
  }
  return false;
}

Error NoMemory(std::string_view what) {
  return EnvironmentError("E-MEMORY", "", what,
                          "use fewer ranks on this node or a smaller train.micro_batch_size");
}

}  // namespace

Error AsError(const std::exception& error) {
  if (const auto* ours = dynamic_cast<const Error*>(&error)) return *ours;
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return NoMemory("out of memory");
  const std::string line = FirstLine(error);
  if (const auto* system = dynamic_cast<const std::system_error*>(&error)) {
    if (system->code() == std::errc::not_enough_memory) return NoMemory(line);
    if (system->code() == std::errc::resource_unavailable_try_again) {
      return EnvironmentError("E-THREADS", "", "no thread could be started: " + line,
                              "check the limit on processes (ulimit -u) and free memory");
    }
    return EnvironmentError("E-IO", "", line);
  }
  if (dynamic_cast<const c10::Error*>(&error) != nullptr) {
    return SpeaksOfMemory(line) ? NoMemory(line)
                                : EnvironmentError("E-TORCH", "", line,
                                                   "if it comes again, please report this line");
  }
  return Error(ErrorKind::kBug, "E-BUG", "", line, "please report this line");
}

}  // namespace contrail::worker
