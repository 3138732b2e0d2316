#pragma once
// GoogleTest under mpirun: every rank runs every test in lockstep.

#include "worker/comm/comm.h"

namespace contrail::worker {

// The job's communicator, alive during RUN_ALL_TESTS.
Comm& World();

}  // namespace contrail::worker
