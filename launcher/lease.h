#pragma once
// One launcher a run: a lock that dies with its holder on this host, and a lease in the run
// directory for launchers of other hosts.

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "monitoring/run_files.h"

namespace contrail::launcher {

// A lease of another host that was renewed this recently is alive.
inline constexpr double kLeaseSeconds = 30;
inline constexpr double kLeaseRenewal = 5;

// Why a launcher on `host` at `now` must keep off, or an empty text. Leases of this very host are
// judged by the lock, not here.
std::string LeaseHolder(const monitor::Lease& lease, const std::string& host, double now);

class RunLock {
 public:
  RunLock() = default;
  // Locks the directory. Throws UserError E-RUN-BUSY where another launcher of this host has it,
  // or one of another host renewed its lease within kLeaseSeconds.
  explicit RunLock(const monitor::RunDir& run);
  ~RunLock();
  RunLock(RunLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  RunLock& operator=(RunLock&& other) noexcept;

 private:
  int fd_ = -1;
};

// Writes the lease at once, renews it every kLeaseRenewal seconds on a thread of its own (a
// hanging file system must not stop the watching), and releases it at the end.
class LeaseKeeper {
 public:
  LeaseKeeper(const monitor::RunDir& run, monitor::Lease lease);
  ~LeaseKeeper();
  void Set(int attempt, const std::string& state);
  // Another launcher with a higher attempt took the run (this host was cut off for a while).
  bool lost() const { return lost_; }

 private:
  void Run();
  void Renew();

  const monitor::RunDir run_;
  std::mutex mutex_;
  std::condition_variable wake_;
  monitor::Lease lease_;
  bool ending_ = false;
  bool warned_ = false;
  std::atomic<bool> lost_ = false;
  std::thread thread_;
};

std::string HostName();

}  // namespace contrail::launcher
