#include "slurm/env.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "common/error.h"
#include "slurm/hostlist.h"

namespace contrail::slurm {
namespace {

const std::string* Find(const std::map<std::string, std::string>& variables, const char* name) {
  const auto found = variables.find(name);
  return found == variables.end() || found->second.empty() ? nullptr : &found->second;
}

int Number(const std::map<std::string, std::string>& variables, const char* name) {
  const std::string* text = Find(variables, name);
  if (text == nullptr) return 0;
  int value = 0;
  const auto result = std::from_chars(text->data(), text->data() + text->size(), value);
  if (result.ec != std::errc() || result.ptr != text->data() + text->size() || value < 0) {
    throw UserError("E-SLURM-ENV", name, "'" + *text + "' is not a count",
                    "start Contrail from the batch script, or unset SLURM_JOB_ID");
  }
  return value;
}

std::map<std::string, std::string> OfEnvironment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == text.npos || text.substr(0, 6) != "SLURM_") continue;
    variables[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  return variables;
}

}  // namespace

std::optional<Allocation> ReadAllocation(const std::map<std::string, std::string>& variables) {
  const std::string* job = Find(variables, "SLURM_JOB_ID");
  if (job == nullptr) return std::nullopt;
  Allocation allocation;
  allocation.job_id = *job;
  if (const std::string* list = Find(variables, "SLURM_JOB_NODELIST")) {
    allocation.nodes = ExpandHostList(*list);
  }
  allocation.tasks = Number(variables, "SLURM_NTASKS");
  allocation.cpus_on_node = Number(variables, "SLURM_CPUS_ON_NODE");
  allocation.restart_count = Number(variables, "SLURM_RESTART_COUNT");
  if (const std::string* name = Find(variables, "SLURM_CLUSTER_NAME")) allocation.cluster = *name;
  return allocation;
}

std::optional<Allocation> ReadAllocation() { return ReadAllocation(OfEnvironment()); }

std::string LeftOver(const std::map<std::string, std::string>& variables, const std::string& host) {
  if (const std::string* list = Find(variables, "SLURM_JOB_NODELIST");
      list != nullptr && Find(variables, "SLURM_JOB_ID") != nullptr) {
    const std::vector<std::string> nodes = ExpandHostList(*list);
    const auto named = [&](const std::string& node) {
      return node == host || host.starts_with(node + ".");
    };
    if (std::any_of(nodes.begin(), nodes.end(), named)) return "";
  }
  std::string names;
  // Those that Open MPI 4 looks at.
  for (const char* name : {"SLURM_JOBID", "SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_NODELIST",
                           "SLURM_NNODES", "SLURM_TASKS_PER_NODE"}) {
    if (Find(variables, name) != nullptr) names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return names;
}

std::string LeftOver(const std::string& host) { return LeftOver(OfEnvironment(), host); }

}  // namespace contrail::slurm
