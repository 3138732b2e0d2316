#pragma once
// What Slurm told this process about its job. The one place that reads SLURM_* variables.

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace contrail::slurm {

struct Allocation {
  std::string job_id;
  std::vector<std::string>
      nodes;              // SLURM_JOB_NODELIST expanded; the batch script runs on the first
  int tasks = 0;          // SLURM_NTASKS; 0 where the job did not ask for tasks
  int cpus_on_node = 0;   // SLURM_CPUS_ON_NODE; 0 where unknown
  int restart_count = 0;  // how often this job was requeued
  std::string cluster;    // SLURM_CLUSTER_NAME
};

// The allocation this process runs in; nothing outside of one. `variables` stands in for the
// environment in tests. Throws UserError E-SLURM-ENV on a number that is none.
std::optional<Allocation> ReadAllocation();
std::optional<Allocation> ReadAllocation(const std::map<std::string, std::string>& variables);

// Names of SLURM_* variables that cannot be of a job of this host, as a shell keeps them when its
// job has ended: without a job id, or of a job on other hosts. mpirun believes them. Comma
// separated; empty where there are none.
std::string LeftOver(const std::string& host);
std::string LeftOver(const std::map<std::string, std::string>& variables, const std::string& host);

}  // namespace contrail::slurm
