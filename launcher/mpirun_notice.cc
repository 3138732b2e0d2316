#include "launcher/mpirun_notice.h"

#include <regex>

namespace contrail::launcher {

std::optional<MpirunNotice> FindMpirunNotice(const std::deque<std::string>& lines) {
  static const std::regex signalled(
      R"(noticed that process rank (\d{1,7}) with PID \d+ on node (\S+) exited on (signal \d+ \([^)]*\)))");
  static const std::regex process(R"(Process name: \[\[\d+,\d+\],(\d{1,7})\])");
  static const std::regex code(R"(Exit code:\s+(\d{1,3}))");
  std::smatch match;
  int rank = -1;
  for (const std::string& line : lines) {
    if (std::regex_search(line, match, signalled)) {
      return MpirunNotice{std::stoi(match[1]), match[2], "killed by " + match[3].str(), true};
    }
    if (std::regex_search(line, match, process)) rank = std::stoi(match[1]);
    if (rank >= 0 && std::regex_search(line, match, code)) {
      return MpirunNotice{rank, "", "exited with code " + match[1].str(), false};
    }
  }
  return std::nullopt;
}

}  // namespace contrail::launcher
