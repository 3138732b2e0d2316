#include "launcher/starters.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string_view>

#include "launcher/process.h"

namespace contrail::launcher {
namespace {

std::string FirstWord(pid_t pid) {
  std::ifstream words("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
  std::string word;
  std::getline(words, word, '\0');
  return word;
}

// What Open MPI calls the process; -1 where that cannot be read.
int RankOf(pid_t pid) {
  constexpr std::string_view kName = "OMPI_COMM_WORLD_RANK=";
  std::ifstream words("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
  for (std::string word; std::getline(words, word, '\0');) {
    if (!word.starts_with(kName)) continue;
    int rank = -1;
    std::from_chars(word.data() + kName.size(), word.data() + word.size(), rank);
    return rank;
  }
  return -1;
}

}  // namespace

std::vector<Starter> StartersOf(pid_t mpirun, const std::string& worker,
                                const std::vector<RankView>& up) {
  std::vector<Starter> starters;
  for (const pid_t pid : SessionMembers(mpirun)) {
    const bool is_up =
        std::any_of(up.begin(), up.end(), [&](const RankView& rank) { return rank.pid == pid; });
    if (is_up) continue;
    const ProcessSigns signs = SignsOf(pid);
    const int rank = FirstWord(pid) == worker ? RankOf(pid) : -1;
    starters.push_back({pid, rank, signs.state, signs.cpu_seconds, signs.moved});
  }
  return starters;
}

}  // namespace contrail::launcher
