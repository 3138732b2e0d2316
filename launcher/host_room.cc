#include "launcher/host_room.h"

#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <string>

#include "common/error.h"
#include "common/strings.h"

namespace contrail::launcher {
namespace {

constexpr const char* kSharedMemory = "/dev/shm";

// The progress board: a page and what a rank has in it.
constexpr uint64_t kBoard = 4096;
constexpr uint64_t kBoardOfRank = 4096;
// Open MPI 4.1: two files of 4 MiB of its key-value store and some pages; of a rank what its shared
// segment takes from the start (135 KiB seen). The segment's other pages, 4 MiB in all, it takes as
// messages need them.
constexpr uint64_t kMpi = (uint64_t{8} << 20) + (128 << 10);
constexpr uint64_t kMpiOfRank = 256 << 10;

// mpirun: 43 files for 2 ranks, 55 for 8; a rank 21, its shards, and a socket for a peer elsewhere.
constexpr uint64_t kFiles = 64;
constexpr uint64_t kFilesOfRank = 4;

}  // namespace

HostRoom ReadHostRoom() {
  HostRoom room;
  struct statvfs info {};
  if (statvfs(kSharedMemory, &info) == 0) {
    room.shared_memory = uint64_t{info.f_bavail} * info.f_frsize;
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) room.open_files = limit.rlim_cur;
  return room;
}

void CheckHostRoom(const HostRoom& room, int ranks) {
  const auto count = static_cast<uint64_t>(ranks);
  const uint64_t ours = kBoard + count * kBoardOfRank;
  const uint64_t mpi = kMpi + count * kMpiOfRank;
  const std::string here = std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks");
  if (room.shared_memory && *room.shared_memory < ours + mpi) {
    throw UserError("E-SHM", kSharedMemory,
                    HumanBytes(*room.shared_memory) + " are free, and " + here +
                        " of this node need " + HumanBytes(ours + mpi) +
                        " there: " + HumanBytes(ours) + " for the progress board, " +
                        HumanBytes(mpi) + " for MPI",
                    "make it larger (containers: --shm-size; else mount -o remount,size=1G "
                    "/dev/shm), or remove what ended jobs left in it");
  }
  const uint64_t files = kFiles + count * kFilesOfRank;
  if (room.open_files < files) {
    throw UserError("E-OPEN-FILES", "ulimit -n",
                    "a process may have " + std::to_string(room.open_files) +
                        " files open, and mpirun needs " + std::to_string(files) + " for " + here,
                    "start it where the hard limit is higher (limits.conf; containers: --ulimit "
                    "nofile=1024)");
  }
}

int RanksOfANode(const Config& config, const std::optional<slurm::Allocation>& allocation) {
  const auto ranks = static_cast<int>(config.launcher.ranks);
  const int nodes = allocation ? std::max(1, static_cast<int>(allocation->nodes.size())) : 1;
  return (ranks + nodes - 1) / nodes;
}

}  // namespace contrail::launcher
