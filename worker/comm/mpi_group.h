#pragma once
// A communicator together with what a failed call's message must name.

#include <mpi.h>

#include <cstdint>

namespace contrail::worker {

struct MpiGroup {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;
  uint64_t sequence = 0;       // number of the collective under way, from 1
  const char* operation = "";  // its name

  // Throws EnvironmentError E-MPI-COLLECTIVE unless `code` is MPI_SUCCESS.
  void Check(int code) const;
};

// Waits for one request without burning the core another rank may need: a short spin, then
// yields, then (patient) sleeps of 50 us.
enum class Patience { kBrisk, kPatient };
void Await(const MpiGroup& group, MPI_Request* request, Patience patience);

// Returns when every rank of the group has called it. Waiting here, asleep, and only then moving
// data with everyone present keeps late ranks' cores free and tells waiting from moving.
void AwaitPeers(const MpiGroup& group);

}  // namespace contrail::worker
