#pragma once
// Benchmarks that are a job of several ranks: rank 0 speaks with bench/pairs.py.

#include <memory>

#include "bench/serve.h"
#include "worker/comm/comm.h"

namespace contrail::bench {

// Over MPI where this process was started by mpirun, else alone.
std::unique_ptr<worker::Comm> MakeComm();

Team TeamOf(worker::Comm& comm);

}  // namespace contrail::bench
