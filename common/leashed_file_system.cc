#include "common/leashed_file_system.h"

#include <cerrno>

#include "common/error.h"

namespace contrail {

void LeashedFileSystem::Before(Act act, const std::string& path, const char* /*doing*/) const {
  if (cut_ && act != Act::kReadOn) throw IoError(ECANCELED, path, "given up");
}

}  // namespace contrail
