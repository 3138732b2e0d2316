#include "common/beside_program.h"

#include <dlfcn.h>

#include <filesystem>

namespace contrail {

void* LoadBesideProgram(const std::string& name, std::string* problem) {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto path = program.parent_path() / "../lib" / name;
  problem->clear();
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr && std::filesystem::exists(path, ignored)) *problem = dlerror();
  return library;
}

}  // namespace contrail
