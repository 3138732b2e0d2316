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

bool Ours(const std::string& path) {
  struct stat info {};
  return lstat(path.c_str(), &info) == 0 && info.st_uid == geteuid();
}

}  // namespace

SharedMemory::SharedMemory(const std::string& run_dir) {
  struct stat info {};  // zeros where it cannot be told: then the path has to do
  if (stat(run_dir.c_str(), &info) != 0) info = {};
  prefix_ = "contrail." +
            Hex64(Fnv1a(run_dir + "\n" + std::to_string(info.st_dev) + "\n" +
                        std::to_string(info.st_ino))) +
            ".";
}

SharedNames SharedMemory::Names(int attempt, const std::string& owner) const {
  const std::string begin = kFolder + ("/" + prefix_) + std::to_string(attempt) + ".";
  return {begin + owner, begin + "mpi." + owner};
}

void MakeScratch(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0) return;
  throw EnvironmentError("E-PROGRESS", path, "could not make it: " + ErrnoText(errno),
                         "free space in /dev/shm, or make it writable by you");
}

void SharedMemory::RemoveAll() const {
  std::error_code ignored;  // gone meanwhile
  std::filesystem::directory_iterator entry(kFolder, ignored);
  for (; !ignored && entry != std::filesystem::directory_iterator(); entry.increment(ignored)) {
    const std::string path = entry->path();
    std::error_code stays;
    if (entry->path().filename().string().starts_with(prefix_) && Ours(path)) {
      std::filesystem::remove_all(path, stays);
    }
  }
}

}  // namespace contrail::launcher
