#include "common/error.h"

#include <cerrno>
#include <cstring>

#include "common/escape.h"

namespace contrail {
namespace {

// Names of others are in all three parts: the line is shown as one, whatever they hold.
std::string Line(std::string_view id, std::string_view where, std::string_view what,
                 std::string_view fix) {
  constexpr size_t kMost = 4096;  // as a path
  std::string line(id);
  line += ": ";
  if (!where.empty()) {
    line += EscapeShort(where, kMost);
    line += ": ";
  }
  line += EscapeShort(what, kMost);
  if (!fix.empty()) {
    line += "; ";
    line += EscapeShort(fix, kMost);
  }
  return line;
}

// What no restart cures at once but the user can.
bool ForTheUser(int number) {
  return number == ENOSPC || number == EDQUOT || number == EFBIG || number == EACCES ||
         number == EPERM || number == EROFS;
}

const char* FixOf(int number) {
  if (number == ENOSPC || number == EDQUOT || number == EFBIG) {
    return "free some space or quota there and start again";
  }
  return ForTheUser(number) ? "choose a place you may write to" : "";
}

}  // namespace

Error::Error(ErrorKind kind, std::string_view id, std::string_view where, std::string_view what,
             std::string_view fix)
    : std::runtime_error(Line(id, where, what, fix)), kind_(kind), id_(id) {}

int Error::exit_code() const {
  switch (kind_) {
    case ErrorKind::kUser:
      return kExitUser;
    case ErrorKind::kEnvironment:
      return kExitEnvironment;
    case ErrorKind::kBug:
      return kExitBug;
  }
  return kExitBug;
}

IoError::IoError(int number, std::string_view where, std::string_view what)
    : Error(ForTheUser(number) ? ErrorKind::kUser : ErrorKind::kEnvironment, "E-IO", where,
            std::string(what) + ": " + ErrnoText(number), FixOf(number)),
      number_(number) {}

std::string ErrnoText(int err) {
  char buffer[256];
  return strerror_r(err, buffer, sizeof buffer);
}

void BugAt(const char* file, int line, const char* condition) {
  throw Error(ErrorKind::kBug, "E-BUG", std::string(file) + ":" + std::to_string(line),
              std::string("broken promise: ") + condition, "please report this line");
}

}  // namespace contrail
