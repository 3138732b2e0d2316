#pragma once
// A communicator together with what a failed call's message must name.

#include <mpi.h>

#include <cstdint>
#include <functional>

#include "monitoring/progress_word.h"

namespace contrail::worker {

struct MpiGroup {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;
  uint64_t sequence = 0;  // number of the collective under way, from 1
  monitor::Operation operation = monitor::Operation::kNone;
  double timeout = 0;               // seconds without an end, 0 = no limit
  std::function<void()> meanwhile;  // called now and then by a thread that waits for long

  int64_t messages = 0;  // that this rank has sent by Send

  double deadline = 0;   // MPI_Wtime; of the collective under way
  double last_tick = 0;  // MPI_Wtime

  // Throws EnvironmentError E-MPI-COLLECTIVE unless `code` is MPI_SUCCESS.
  void Check(int code) const;
  // MPI_Isend, counted.
  void Send(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Request* request);
  void StartClock();
  // Throws TimedOut after the deadline. Time in which this process was itself not running (a
  // stopped process, a suspended machine) does not count.
  void Tick();
};

struct TimedOut {};  // of the collective under way

// Waits for one request without burning the core another rank may need: a short spin, then
// yields, then sleeps of 50 us to 1 ms. Brisk is for data under way, whose sender may lack a core
// only for a moment: it yields much longer before it sleeps.
enum class Patience { kBrisk, kPatient };
void Await(MpiGroup& group, MPI_Request* request, Patience patience);

// Returns when every rank of the group has called it. Waiting here, asleep, and only then moving
// data with everyone present keeps late ranks' cores free and tells waiting from moving.
void AwaitPeers(MpiGroup& group);

}  // namespace contrail::worker
