#include "launcher/doctor.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/program.h"
#include "configs/load.h"

namespace contrail::launcher {
namespace {

const char* Word(Health health) {
  switch (health) {
    case Health::kOk:
      return "ok";
    case Health::kWarn:
      return "warn";
    case Health::kBad:
      break;
  }
  return "bad";
}

std::string AsText(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& finding : findings) {
    char head[40];
    std::snprintf(head, sizeof head, "%-5s %-14s ", Word(finding.health), finding.check.c_str());
    out += head + finding.text + (finding.fix.empty() ? "" : "; " + finding.fix) + "\n";
  }
  return out;
}

std::string AsJson(const std::vector<Finding>& findings, Health worst) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"check", finding.check},
                    {"health", Word(finding.health)},
                    {"text", finding.text},
                    {"fix", finding.fix}});
  }
  const nlohmann::json all = {{"health", Word(worst)}, {"findings", list}};
  return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

int RunDoctor(const ParsedArgs& args) {
  Config config;
  if (!args.positional.empty()) config = LoadConfig(args.positional[0]);
  const long ranks = args.Int("--ranks", config.launcher.ranks, 1, 1'000'000);

  std::vector<Finding> findings = LookAtMpi(config.launcher.mpirun);
  for (Finding& finding : LookAtMachine(ranks)) findings.push_back(std::move(finding));
  findings.push_back(LookAtDisk(args.Value("--run", config.run.dir)));

  const Health worst = std::max_element(findings.begin(), findings.end(), [](auto& a, auto& b) {
                         return a.health < b.health;
                       })->health;
  Print(args.Has("--json") ? AsJson(findings, worst) : AsText(findings));
  return worst == Health::kBad ? kExitUser : kExitDone;
}

}  // namespace contrail::launcher
