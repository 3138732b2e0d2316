#include "monitoring/progress_word.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/error.h"

namespace contrail::monitor {
namespace {

constexpr size_t kBoardBytes = sizeof(ProgressWord) * ProgressBoard::kMaxLocalRanks;

Error Fail(const std::string& path, const std::string& doing) {
  return EnvironmentError("E-PROGRESS", path, "could not " + doing + ": " + ErrnoText(errno),
                          "the progress board needs 128 KiB in /dev/shm, writable by you");
}

}  // namespace

const char* PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kAbsent:
      return "absent";
    case Phase::kStarting:
      return "starting";
    case Phase::kTraining:
      return "training";
    case Phase::kSaving:
      return "saving";
    case Phase::kDone:
      return "done";
    case Phase::kFailed:
      return "failed";
  }
  return "unknown";
}

const char* OperationName(Operation operation) {
  switch (operation) {
    case Operation::kNone:
      return "";
    case Operation::kAllReduce:
      return "allreduce";
    case Operation::kReduceScatter:
      return "reduce_scatter";
    case Operation::kAllGather:
      return "allgather";
    case Operation::kBroadcast:
      return "broadcast";
    case Operation::kBarrier:
      return "barrier";
  }
  return "";
}

std::unique_ptr<ProgressBoard> ProgressBoard::Map(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) throw Fail(path, "open");
  // Whoever comes first sizes it. The new bytes are zeros: every rank absent. Allocating now turns
  // a full /dev/shm into an error here instead of a SIGBUS at the first store.
  const int allocated = ::posix_fallocate(fd, 0, static_cast<off_t>(kBoardBytes));
  if (allocated != 0) {
    ::close(fd);
    errno = allocated;
    throw Fail(path, "allocate");
  }
  void* memory = ::mmap(nullptr, kBoardBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int err = errno;
  ::close(fd);
  if (memory == MAP_FAILED) {
    errno = err;
    throw Fail(path, "map");
  }
  return std::unique_ptr<ProgressBoard>(new ProgressBoard(memory, kBoardBytes));
}

ProgressBoard::~ProgressBoard() { ::munmap(memory_, size_); }

ProgressWord& ProgressBoard::word(int local_rank) {
  CONTRAIL_ASSERT(local_rank >= 0 && local_rank < kMaxLocalRanks);
  return static_cast<ProgressWord*>(memory_)[local_rank];
}

const ProgressWord& ProgressBoard::word(int local_rank) const {
  CONTRAIL_ASSERT(local_rank >= 0 && local_rank < kMaxLocalRanks);
  return static_cast<const ProgressWord*>(memory_)[local_rank];
}

}  // namespace contrail::monitor
