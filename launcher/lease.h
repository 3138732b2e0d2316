#pragma once
// The launcher's hold on its run: monitoring/owner/, which a bare mpirun shares.

#include <optional>

#include "monitoring/owner/create_run.h"
#include "monitoring/owner/lease_keeper.h"
#include "monitoring/owner/take_over.h"
#include "slurm/env.h"

namespace contrail::launcher {

using monitor::CreateRun;
using monitor::LeaseKeeper;
using monitor::OwnerToken;
using monitor::ReadLeasePatiently;
using monitor::RunClaim;
using monitor::RunExists;
using monitor::RunLock;
using monitor::TakeRun;
using monitor::Waiting;

// The lease of this process.
inline monitor::Lease OwnLease(int attempt, const std::optional<slurm::Allocation>& allocation) {
  return monitor::OwnLease(attempt, allocation ? allocation->job_id : "");
}

}  // namespace contrail::launcher
