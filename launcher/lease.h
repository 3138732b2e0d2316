#pragma once
// The lease: which launcher has the run, renewed for as long as it lives.

#include <memory>
#include <optional>
#include <string>

#include "common/file_system.h"
#include "monitoring/run_files.h"
#include "slurm/env.h"

namespace contrail::launcher {

inline constexpr double kLeaseRenewal = 5;  // seconds

std::string HostName();

// Drawn once by this process; in its lease, its claims and its ranks' command lines.
const std::string& OwnerToken();

// The lease of this process.
monitor::Lease OwnLease(int attempt, const std::optional<slurm::Allocation>& allocation);

// Renews the lease every kLeaseRenewal seconds and when it is changed, on a thread of its own: no
// call waits for the file system. Only owners are compared, and for equality. A lease that cannot
// be read says nothing: it is left alone (one warning) and looked at again.
class LeaseKeeper {
 public:
  // `lease` has been written already (CreateRun, TakeRun). `fs` outlives the process's last thread.
  LeaseKeeper(FileSystem& fs, const monitor::RunDir& run, monitor::Lease lease);
  ~LeaseKeeper();  // releases it; a file system that hangs is not waited for beyond two seconds
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  void Set(int attempt, const std::string& state);
  // Waits until what Set asked for was tried; false where that takes longer than `seconds`.
  bool Settle(double seconds) const;
  // Somebody else's lease was found: this launcher was taken for dead. It never writes again.
  bool lost() const;

 private:
  struct State;
  static void Run(const std::shared_ptr<State>& state);
  static void Renew(State& state, const monitor::Lease& lease);

  const std::shared_ptr<State> state_;  // shared with the thread, which may outlive us
};

}  // namespace contrail::launcher
