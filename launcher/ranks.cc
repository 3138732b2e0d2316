#include "launcher/ranks.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "common/error.h"

namespace contrail::launcher {

int64_t NearestRanks(int64_t asked, int64_t global_batch_size) {
  int64_t best = 1;
  const auto distance = [asked](int64_t ranks) { return std::llabs(ranks - asked); };
  for (int64_t ranks = 1; ranks * ranks <= global_batch_size; ++ranks) {
    if (global_batch_size % ranks != 0) continue;
    for (const int64_t divisor : {ranks, global_batch_size / ranks}) {
      if (distance(divisor) < distance(best) ||
          (distance(divisor) == distance(best) && divisor < best)) {
        best = divisor;
      }
    }
  }
  return best;
}

void SettleRanks(Config& config, const std::optional<slurm::Allocation>& allocation) {
  std::string& origin = config.origin["launcher.ranks"];
  const int tasks = allocation ? allocation->tasks : 0;
  if (tasks > 0 && (origin.empty() || origin == "default")) {
    config.launcher.ranks = tasks;
    origin = "SLURM_NTASKS";
  }
  const int64_t ranks = config.launcher.ranks;
  const int64_t batch = config.train.global_batch_size;
  const std::string where = origin.empty() || origin == "default" ? "launcher.ranks" : origin;
  if (ranks < 1 || ranks > batch || batch % ranks != 0) {
    const std::string what = ranks < 1       ? " ranks cannot train"
                             : ranks > batch ? " ranks are more than the global batch of " +
                                                   std::to_string(batch) + " samples"
                                             : " ranks do not divide the global batch of " +
                                                   std::to_string(batch) + " samples evenly";
    throw UserError("E-RANKS", where, std::to_string(ranks) + what,
                    "use --ranks " + std::to_string(NearestRanks(ranks, batch)));
  }
  if (tasks > 0 && ranks > tasks) {
    throw UserError("E-RANKS", where,
                    std::to_string(ranks) + " ranks, but job " + allocation->job_id + " has " +
                        std::to_string(tasks) + " tasks",
                    "use --ranks " + std::to_string(NearestRanks(tasks, batch)) +
                        ", or ask Slurm for more tasks (--ntasks)");
  }
}

int64_t UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int64_t ThreadsPerRank(const Config& config, const std::optional<slurm::Allocation>& allocation,
                       int64_t usable) {
  if (config.launcher.threads_per_rank > 0) return config.launcher.threads_per_rank;
  const int64_t nodes = allocation ? std::max<int64_t>(1, std::ssize(allocation->nodes)) : 1;
  const bool told = allocation && allocation->cpus_on_node > 0;
  const int64_t cores = told ? std::min<int64_t>(usable, allocation->cpus_on_node) : usable;
  const int64_t ranks_here = (config.launcher.ranks + nodes - 1) / nodes;
  return std::max<int64_t>(1, cores / ranks_here);
}

}  // namespace contrail::launcher
