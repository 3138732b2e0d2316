#pragma once
// One holder a run: a launcher, or rank 0 of a bare mpirun. On this host a lock tells, which dies
// with its holder. Holders on other hosts are watched: a lease that changes is alive, one that
// stays as it is for kWatchSeconds on our own clock is dead, whatever time its holder's clock has
// written into it. A host is its name and its boot (common/host_name.h).

#include <functional>
#include <memory>
#include <string>

#include "common/clock.h"
#include "monitoring/owner/lease_keeper.h"

namespace contrail::monitor {

inline constexpr double kWatchSeconds = 30;

// This host's lock on a run directory.
class RunLock {
 public:
  RunLock() = default;
  // Throws UserError E-RUN-BUSY where another process of this host has it.
  explicit RunLock(const RunDir& run);
  ~RunLock();
  RunLock(RunLock&& other) noexcept : fd_(other.fd_), tells_(other.tells_) { other.fd_ = -1; }
  RunLock& operator=(RunLock&& other) noexcept;

  // False where the file system has no locks: holders on this host are then watched as well.
  bool tells() const { return tells_; }

 private:
  int fd_ = -1;
  bool tells_ = false;
};

// The right to run, held for as long as this lives. The lease is released before the lock.
struct RunClaim {
  RunLock lock;
  std::unique_ptr<LeaseKeeper> lease;
  int attempt = 1;  // claimed
};

// How time passes while somebody is watched.
struct Waiting {
  const Clock& clock = SystemClock();
  std::function<void(double seconds)> sleep;  // default: sleeps
};
void Sleep(const Waiting& waiting, double seconds);

// Claims the next attempt and takes the lease. `self` needs no attempt. Says on stderr who is
// watched and for how long. Throws UserError E-RUN-BUSY where somebody else has the run or takes it
// at the same time, and what kept the lease from being read where that goes on for kWatchSeconds.
RunClaim TakeRun(FileSystem& fs, const RunDir& run, RunLock lock, Lease self,
                 const Waiting& waiting = {});

// The lease; one that cannot be read is tried for kWatchSeconds before that is thrown.
std::optional<Lease> ReadLeasePatiently(const FileSystem& fs, const RunDir& run,
                                        const Waiting& waiting = {});

}  // namespace contrail::monitor
