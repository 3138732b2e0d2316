#include "worker/help.h"

#include <algorithm>

#include "common/strings.h"
#include "configs/cli.h"

namespace contrail::worker {

std::optional<std::string> Help(const std::vector<std::string>& words) {
  const auto is_help = [](const std::string& word) {
    return word == "help" || word == "--help" || word == "-h";
  };
  if (!words.empty() && std::none_of(words.begin(), words.end(), is_help)) return std::nullopt;
  std::vector<std::string> rest;
  std::remove_copy_if(words.begin(), words.end(), std::back_inserter(rest), is_help);
  const std::string asked = Join(rest, " ") + " ";
  for (const CommandSpec& command : WorkerCommandTable()) {
    if (asked.starts_with(command.name + " ")) return HelpCommand("contrail-worker", command);
  }
  return HelpOverview("contrail-worker", WorkerCommandTable());
}

}  // namespace contrail::worker
