#include "common/program.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "common/error.h"
#include "common/log.h"

namespace contrail {
namespace {

// A pipe says so for as long as it is open.
bool ReaderIsGone() {
  pollfd entry = {STDOUT_FILENO, POLLOUT, 0};
  return poll(&entry, 1, 0) == 1 && (entry.revents & POLLERR) != 0;
}

constexpr const char* kGone = "the working directory has been deleted";
constexpr const char* kGoElsewhere = "change to another one (cd) and start again";

bool WorkingDirectoryIsGone() {
  char path[PATH_MAX];
  return getcwd(path, sizeof path) == nullptr && errno == ENOENT;
}

void FinishStdout() {
  errno = 0;
  const bool failed = std::ferror(stdout) != 0;
  if (std::fflush(stdout) == 0 && !failed) return;
  const int why = errno;
  if (why == EPIPE || ReaderIsGone()) return;
  throw EnvironmentError(
      "E-STDOUT", "standard output",
      "the result could not be written" + (why != 0 ? ": " + ErrnoText(why) : ""),
      "write it to a place that has room");
}

}  // namespace

int RunProgram(const std::function<int()>& body) {
  try {
    const int code = body();
    if (code == kExitDone) FinishStdout();
    return code;
  } catch (const Error& error) {
    LogError(error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    LogError(std::string("E-BUG: ") + error.what());
    return kExitBug;
  }
}

void Print(const std::string& text) {
  [[maybe_unused]] const size_t n =  // a failure is remembered
      std::fwrite(text.data(), 1, text.size(), stdout);
  FinishStdout();
}

void CheckWorkingDirectory() {
  if (WorkingDirectoryIsGone()) throw UserError("E-CWD", "", kGone, kGoElsewhere);
}

void EndWithoutWorkingDirectory() {
  if (!WorkingDirectoryIsGone()) return;
  for (const char* part : {"error: E-CWD: ", kGone, "; ", kGoElsewhere, "\n"}) {
    [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, part, std::strlen(part));
  }
  _exit(kExitUser);
}

}  // namespace contrail
