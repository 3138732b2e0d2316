#pragma once
// The lease: who has the run, renewed for as long as its holder lives.

#include <memory>
#include <string>

#include "common/file_system.h"
#include "monitoring/run_files.h"

namespace contrail::monitor {

inline constexpr double kLeaseRenewal = 5;  // seconds

// Drawn once by this process; in its lease, its claims and the command lines of its ranks.
const std::string& OwnerToken();

// The lease of this process; `job` is the scheduler's id or empty.
Lease OwnLease(int attempt, const std::string& job);

// Renews the lease every kLeaseRenewal seconds and when it is changed, on a thread of its own: no
// call waits for the file system. Another owner's lease of an attempt before the last one that was
// written here is the renewal of a process that was taken for dead and came back: it is written
// over, and its own keeper gives up when it sees ours. Every other one has the run. A lease that
// cannot be read says nothing: it is left alone (one warning) and looked at again.
class LeaseKeeper {
 public:
  // `lease` has been written already (CreateRun, TakeRun). `fs` outlives the process's last thread.
  LeaseKeeper(FileSystem& fs, const RunDir& run, Lease lease);
  ~LeaseKeeper();  // releases it; a file system that hangs is not waited for beyond two seconds
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  void Set(int attempt, const std::string& state);
  // Waits until what Set asked for was tried; false where that takes longer than `seconds`.
  bool Settle(double seconds) const;
  // A later lease of somebody else was found: we were taken for dead. It never writes again.
  bool lost() const;

 private:
  struct State;
  static void Run(const std::shared_ptr<State>& state);
  static void Renew(State& state, const Lease& lease);

  const std::shared_ptr<State> state_;  // shared with the thread, which may outlive us
};

}  // namespace contrail::monitor
