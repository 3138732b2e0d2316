#include "common/error.h"

#include <cstring>

namespace contrail {
namespace {

std::string Line(std::string_view id, std::string_view where, std::string_view what,
                 std::string_view fix) {
  std::string line(id);
  line += ": ";
  if (!where.empty()) {
    line += where;
    line += ": ";
  }
  line += what;
  if (!fix.empty()) {
    line += "; ";
    line += fix;
  }
  return line;
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

std::string ErrnoText(int err) {
  char buffer[256];
  return strerror_r(err, buffer, sizeof buffer);
}

void BugAt(const char* file, int line, const char* condition) {
  throw Error(ErrorKind::kBug, "E-BUG", std::string(file) + ":" + std::to_string(line),
              std::string("broken promise: ") + condition, "please report this line");
}

}  // namespace contrail
