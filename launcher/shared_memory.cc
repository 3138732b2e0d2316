#include "launcher/shared_memory.h"

#include <filesystem>
#include <system_error>

#include "common/hash.h"

namespace contrail::launcher {
namespace {

constexpr const char* kFolder = "/dev/shm";

std::string Prefix(const std::string& run_dir) { return "contrail." + Hex64(Fnv1a(run_dir)) + "."; }

}  // namespace

SharedNames SharedMemoryNames(const std::string& run_dir, int attempt) {
  const std::string name = kFolder + ("/" + Prefix(run_dir)) + std::to_string(attempt);
  return {name, name + ".mpi"};
}

void RemoveSharedMemory(const std::string& run_dir) {
  const std::string prefix = Prefix(run_dir);
  std::error_code ignored;  // another user's, or gone meanwhile
  for (const auto& entry : std::filesystem::directory_iterator(kFolder, ignored)) {
    if (entry.path().filename().string().starts_with(prefix)) {
      std::filesystem::remove_all(entry.path(), ignored);
    }
  }
}

}  // namespace contrail::launcher
