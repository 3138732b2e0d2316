#pragma once
// The life of a run: attempt after attempt until it is done, stopped, or given up.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "configs/config.h"
#include "launcher/lease.h"
#include "monitoring/run_dir.h"
#include "slurm/env.h"

namespace contrail::launcher {

struct Job {
  Config config;
  monitor::RunDir run;
  std::optional<slurm::Allocation> allocation;
  std::optional<uint64_t> from;  // --from: start at this step until something is committed on it
  std::string consent;   // of this command line to other shards (--set data.train), or empty
  bool created = false;  // by this very command: a run that never began is removed again
  // Where the ranks refuse to start: takes back what this command has changed in an earlier run.
  std::function<void()> take_back;
};

// Returns the exit code of `contrail`: 0 done, 2 a worker found the user's mistake, 3 stopped on
// request, 4 gave up, 70 a bug. The failing rank's message is the last line on stderr.
int Supervise(const Job& job, RunClaim claim);

}  // namespace contrail::launcher
