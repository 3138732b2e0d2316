#include "worker/comm/mpi_group.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <limits>
#include <string>

#include "common/error.h"

namespace contrail::worker {
namespace {

constexpr int kSpins = 64;              // a few microseconds: peers on idle cores answer within it
constexpr int kYields = 64;             // hands the core to a ready rank of an oversubscribed node
constexpr int kBriskYields = 2048;      // about a millisecond on an idle core
constexpr long kSleepNs = 50'000;       // then sleep: a late peer is late by milliseconds,
constexpr long kLongestNs = 1'000'000;  // ... or by many of them: each pause a twentieth longer,
constexpr double kGrowth = 1.05;        // so that waiting grows by a twentieth at most
constexpr double kNotRunning = 1.0;     // a longer gap between two ticks is not the peers' fault

}  // namespace

void MpiGroup::Check(int code) const {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw EnvironmentError("E-MPI-COLLECTIVE", "rank " + std::to_string(rank),
                         std::string(OperationName(operation)) + " number " +
                             std::to_string(sequence) + " failed: " + text,
                         "look for the first rank that failed; the launcher restarts the job");
}

void MpiGroup::Send(const void* data, int count, MPI_Datatype type, int to, int tag,
                    MPI_Request* request) {
  Check(MPI_Isend(data, count, type, to, tag, comm, request));
  ++messages;
}

void MpiGroup::StartClock() {
  last_tick = MPI_Wtime();
  deadline = timeout > 0 ? last_tick + timeout : std::numeric_limits<double>::infinity();
}

void MpiGroup::Tick() {
  const double now = MPI_Wtime();
  if (now - last_tick > kNotRunning) deadline += now - last_tick;
  last_tick = now;
  if (meanwhile) meanwhile();
  if (now > deadline) throw TimedOut();
}

void Await(MpiGroup& group, MPI_Request* request, Patience patience) {
  const int yields = patience == Patience::kBrisk ? kBriskYields : kYields;
  double sleep_ns = kSleepNs;
  for (int tries = 0;; ++tries) {
    int done = 0;
    group.Check(MPI_Test(request, &done, MPI_STATUS_IGNORE));
    if (done) return;
    if (tries < kSpins) continue;
    group.Tick();
    if (tries < kSpins + yields) {
      sched_yield();
      continue;
    }
    const timespec pause = {0, static_cast<long>(sleep_ns)};
    nanosleep(&pause, nullptr);
    sleep_ns = std::min<double>(kLongestNs, sleep_ns * kGrowth);
  }
}

void AwaitPeers(MpiGroup& group) {
  MPI_Request request = MPI_REQUEST_NULL;
  group.Check(MPI_Ibarrier(group.comm, &request));
  Await(group, &request, Patience::kPatient);
}

}  // namespace contrail::worker
