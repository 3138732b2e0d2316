// The place of the run directory: whether checkpoints can be written there, and what it is.

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "common/error.h"
#include "common/file_system.h"
#include "common/strings.h"
#include "common/token.h"
#include "launcher/doctor.h"

namespace contrail::launcher {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLittleRoom = 20'000'000'000;
constexpr uint64_t kNoRoom = 500'000'000;
constexpr uint64_t kFewFiles = 1000;

std::string NameOfKind(uint64_t magic) {
  switch (magic) {
    case 0xEF53:
      return "ext4";
    case 0x58465342:
      return "xfs";
    case 0x9123683E:
      return "btrfs";
    case 0x2FC12FC1:
      return "zfs";
    case 0x01021994:
      return "tmpfs";
    case 0x794C7630:
      return "overlay";
    case 0x6969:
      return "nfs";
    case 0x0BD00BD0:
      return "lustre";
    case 0x47504653:
      return "gpfs";
    case 0x19830326:
      return "beegfs";
    case 0x00C36400:
      return "ceph";
    case 0x65735546:
      return "fuse";
    case 0xFE534D42:
    case 0xFF534D42:
      return "smb";
    default:
      break;
  }
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(magic));
  return text;
}

fs::path NearestDirectory(const std::string& path) {
  fs::path at = fs::absolute(path).lexically_normal();
  std::error_code none;
  while (!fs::is_directory(at, none) && at.has_relative_path()) at = at.parent_path();
  return at;
}

// What a checkpoint does with a small file: written, synced, renamed, its name made durable.
std::string TryWriting(const fs::path& dir) {
  FileSystem& files = PosixFileSystem();
  const std::string path = dir / (".contrail-doctor-" + RandomToken());
  try {
    files.WriteAtomically(path, "contrail doctor looked here\n");
    files.RemoveFile(path);
    return "";
  } catch (const Error& error) {
    std::error_code ignored;
    fs::remove(path, ignored);
    fs::remove(path + ".tmp", ignored);
    return error.what();
  }
}

bool CanLock(const fs::path& dir) {
  const int fd = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool tells = flock(fd, LOCK_SH | LOCK_NB) == 0 || errno == EWOULDBLOCK;
  close(fd);
  return tells;
}

}  // namespace

Finding JudgeDisk(const DiskFacts& facts) {
  const std::string text =
      facts.path + ": " + facts.kind + ", " + HumanBytes(facts.free_bytes) + " free";
  const auto found = [&](Health health, const std::string& more, const std::string& fix) {
    return Finding{health, "run directory", text + more, fix};
  };
  if (!facts.problem.empty()) {
    return {Health::kBad, "run directory", facts.problem, "choose another with run.dir or --run"};
  }
  if (facts.free_bytes < kNoRoom) {
    return found(Health::kBad, "", "make room, or choose another with run.dir or --run");
  }
  if (facts.free_files && *facts.free_files == 0) {
    return found(Health::kBad, ", not one more file",
                 "remove files: the quota or the inodes are used up");
  }
  if (facts.kind == "tmpfs") {
    return found(Health::kWarn, "", "that is memory: checkpoints are gone with this machine");
  }
  if (facts.kind == "overlay") {
    return found(Health::kWarn, "", "that is a container's own layer, gone with it: bind a folder");
  }
  if (!facts.locks) {
    return found(Health::kWarn, ", no locks",
                 "two launchers of one run on one node are told apart by their lease alone");
  }
  if (facts.free_bytes < kLittleRoom) {
    return found(Health::kWarn, "",
                 "a checkpoint takes 12 bytes a parameter (ViT-B/32: 1.8 GB), and "
                 "checkpoint.keep_last and one more are there at once");
  }
  if (facts.free_files && *facts.free_files < kFewFiles) {
    return found(Health::kWarn, ", " + std::to_string(*facts.free_files) + " more files",
                 "remove files, or ask for more inodes");
  }
  return found(Health::kOk, "", "");
}

Finding LookAtDisk(const std::string& run_dir) {
  const fs::path dir = NearestDirectory(run_dir);
  DiskFacts facts{.path = dir, .problem = TryWriting(dir), .locks = CanLock(dir)};
  struct statfs kind {};
  if (statfs(dir.c_str(), &kind) == 0) {
    facts.kind = NameOfKind(static_cast<uint64_t>(kind.f_type) & 0xffffffffu);
  }
  struct statvfs room {};
  if (statvfs(dir.c_str(), &room) == 0) {
    facts.free_bytes = uint64_t{room.f_bavail} * room.f_frsize;
    if (room.f_files > 0) facts.free_files = room.f_favail;
  }
  return JudgeDisk(facts);
}

}  // namespace contrail::launcher
