#pragma once
// How much memory the control groups that this process is in leave it: of version 1 and 2, of its
// own group and of those above.

#include <cstdint>
#include <string>

namespace contrail {

// Where the kernel tells; other places for tests.
struct ControlGroups {
  std::string membership = "/proc/self/cgroup";
  std::string mount = "/sys/fs/cgroup";
};

// Bytes; UINT64_MAX where nothing limits it.
uint64_t MemoryLimit(const ControlGroups& groups = {});

// How many processes the kernel has killed for want of memory: in the own group, and in those above
// that have a limit. Means something only beside an earlier answer.
uint64_t MemoryKills(const ControlGroups& groups = {});

}  // namespace contrail
