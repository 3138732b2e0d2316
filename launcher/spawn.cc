#include "launcher/spawn.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "launcher/commands.h"

namespace contrail::launcher {
namespace {

void Append(std::vector<std::string>& argv, std::initializer_list<std::string> words) {
  argv.insert(argv.end(), words);
}

// Whether arguments of the config already say which cores a rank is bound to.
bool SpeaksOfBinding(const std::vector<std::string>& arguments) {
  constexpr std::array<std::string_view, 8> kWords = {"bind",    "hwloc_base", "rankfile", "-rf",
                                                      "cpu-set", "cpu-list",   ":pe=",     ":PE="};
  return std::any_of(arguments.begin(), arguments.end(), [&](const std::string& argument) {
    return std::any_of(kWords.begin(), kWords.end(),
                       [&](std::string_view word) { return argument.find(word) != argument.npos; });
  });
}

}  // namespace

Child::Options MpirunCommand(const AttemptPlan& plan) {
  Child::Options options;
  options.block_sigterm = true;
  // Open MPI refuses root unless told twice; for this child only.
  if (geteuid() == 0) {
    options.environment = {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"};
  }
  std::vector<std::string>& argv = options.argv;
  const std::vector<std::string>& extra = plan.config->launcher.mpirun_args;
  argv = {plan.mpirun, "-n", std::to_string(plan.ranks), "--tag-output"};
  if (plan.Local()) {
    // Ranks that are killed leave their shared memory; in a folder of its own we can remove it.
    Append(argv, {"--mca", "orte_tmpdir_base", plan.scratch, "--mca", "btl_vader_backing_directory",
                  plan.scratch});
    if (!plan.allocation) Append(argv, {"--oversubscribe"});
    // No network inside a node; a btl of the config wins.
    if (std::find(extra.begin(), extra.end(), "btl") == extra.end()) {
      Append(argv, {"--mca", "btl", "self,vader"});
    }
  } else {
    Append(argv, {"--mca", "orte_launch_agent", SelfProgram() + " " + kNodeAgentWord + " orted"});
  }
  // mpirun would bind a rank to one core, or to one socket, whatever its threads need.
  if (!SpeaksOfBinding(extra)) Append(argv, {"--bind-to", "none"});
  if (plan.Local() && plan.ranks * plan.threads > plan.cores) {
    Append(argv, {"--mca", "mpi_yield_when_idle", "1"});
  }
  argv.insert(argv.end(), extra.begin(), extra.end());
  Append(argv, {plan.worker, "train", "--run", plan.run_dir, "--attempt",
                std::to_string(plan.attempt), "--owner", plan.owner, "--progress", plan.board,
                "--ranks", std::to_string(plan.ranks), "--threads", std::to_string(plan.threads)});
  if (!plan.consent.empty()) Append(argv, {"--consent", plan.consent});
  if (plan.from) Append(argv, {"--from", std::to_string(*plan.from)});
  return options;
}

}  // namespace contrail::launcher
