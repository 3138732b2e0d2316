#include "worker/comm/mpi_group.h"

#include <sched.h>
#include <time.h>

#include <string>

#include "common/error.h"

namespace contrail::worker {
namespace {

constexpr int kSpins = 64;         // a few microseconds: peers on idle cores answer within it
constexpr int kYields = 64;        // hands the core to a ready rank of an oversubscribed node
constexpr long kSleepNs = 50'000;  // then sleep: a late peer is late by milliseconds

}  // namespace

void MpiGroup::Check(int code) const {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw EnvironmentError(
      "E-MPI-COLLECTIVE", "rank " + std::to_string(rank),
      std::string(operation) + " number " + std::to_string(sequence) + " failed: " + text,
      "look for the first rank that failed; the launcher restarts the job");
}

void Await(const MpiGroup& group, MPI_Request* request, Patience patience) {
  for (int tries = 0;; ++tries) {
    int done = 0;
    group.Check(MPI_Test(request, &done, MPI_STATUS_IGNORE));
    if (done) return;
    if (tries < kSpins) continue;
    if (tries < kSpins + kYields || patience == Patience::kBrisk) {
      sched_yield();
    } else {
      const timespec pause = {0, kSleepNs};
      nanosleep(&pause, nullptr);
    }
  }
}

void AwaitPeers(const MpiGroup& group) {
  MPI_Request request = MPI_REQUEST_NULL;
  group.Check(MPI_Ibarrier(group.comm, &request));
  Await(group, &request, Patience::kPatient);
}

}  // namespace contrail::worker
