#include "launcher/shared_memory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "common/error.h"
#include "common/hash.h"

namespace contrail::launcher {
namespace {

constexpr const char* kFolder = "/dev/shm";

std::string Prefix(const std::string& run_dir) { return "contrail." + Hex64(Fnv1a(run_dir)) + "."; }

bool Ours(const std::string& path) {
  struct stat info {};
  return lstat(path.c_str(), &info) == 0 && info.st_uid == geteuid();
}

}  // namespace

SharedNames SharedMemoryNames(const std::string& run_dir, int attempt, const std::string& owner) {
  const std::string begin = kFolder + ("/" + Prefix(run_dir)) + std::to_string(attempt) + ".";
  return {begin + owner, begin + "mpi." + owner};
}

void MakeScratch(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0) return;
  throw EnvironmentError("E-PROGRESS", path, "could not make it: " + ErrnoText(errno),
                         "free space in /dev/shm, or make it writable by you");
}

void RemoveSharedMemory(const std::string& run_dir) {
  const std::string prefix = Prefix(run_dir);
  std::error_code ignored;  // gone meanwhile
  std::filesystem::directory_iterator entry(kFolder, ignored);
  for (; !ignored && entry != std::filesystem::directory_iterator(); entry.increment(ignored)) {
    const std::string path = entry->path();
    std::error_code stays;
    if (entry->path().filename().string().starts_with(prefix) && Ours(path)) {
      std::filesystem::remove_all(path, stays);
    }
  }
}

}  // namespace contrail::launcher
