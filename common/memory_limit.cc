#include "common/memory_limit.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "common/strings.h"

namespace contrail {
namespace {

constexpr uint64_t kNoLimit = UINT64_MAX;
constexpr uint64_t kLeastOfNone = uint64_t{1} << 60;  // version 1 says "none" as a huge number

struct Group {
  std::string dir;
  bool first_version = false;
};

// The own group and those above it, the own one first. Inside a container the path may be the
// host's, of which only the top is mounted.
std::vector<Group> GroupsOf(const ControlGroups& where) {
  std::vector<Group> found;
  std::ifstream membership(where.membership);
  for (std::string line; std::getline(membership, line);) {
    // number:controllers:path
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::vector<std::string> mounts;
    const bool first_version = !controllers.empty();
    if (!first_version) {
      mounts = {where.mount, where.mount + "/unified"};
    } else {
      const auto names = Split(controllers, ',');
      if (std::find(names.begin(), names.end(), "memory") == names.end()) continue;
      mounts = {where.mount + "/memory", where.mount + "/" + controllers};
      if (mounts[0] == mounts[1]) mounts.pop_back();
    }
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    for (const std::string& mount : mounts) {
      for (std::string at = path;; at.erase(at.rfind('/'))) {
        found.push_back({mount + at, first_version});
        if (at.empty() || at.rfind('/') == std::string::npos) break;
      }
    }
  }
  return found;
}

uint64_t LimitOf(const Group& group) {
  uint64_t limit = 0;  // "max" is no number
  const char* name = group.first_version ? "/memory.limit_in_bytes" : "/memory.max";
  if (!(std::ifstream(group.dir + name) >> limit) || limit >= kLeastOfNone) return kNoLimit;
  return limit;
}

uint64_t KillsIn(const Group& group) {
  std::ifstream events(group.dir +
                       (group.first_version ? "/memory.oom_control" : "/memory.events"));
  std::string name;
  for (uint64_t count = 0; events >> name >> count;) {
    if (name == "oom_kill") return count;
  }
  return 0;
}

}  // namespace

uint64_t MemoryLimit(const ControlGroups& groups) {
  uint64_t limit = kNoLimit;
  for (const Group& group : GroupsOf(groups)) limit = std::min(limit, LimitOf(group));
  return limit;
}

uint64_t MemoryKills(const ControlGroups& groups) {
  uint64_t kills = 0;
  std::string below;  // the group looked at before, where it lies in this one
  for (const Group& group : GroupsOf(groups)) {
    const bool own = below.empty() || below.compare(0, group.dir.size(), group.dir) != 0;
    if (own || LimitOf(group) != kNoLimit) kills += KillsIn(group);
    below = group.dir;
  }
  return kills;
}

}  // namespace contrail
