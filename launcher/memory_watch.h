#pragma once
// Whether the kernel killed processes of the job for want of memory: what dies by SIGKILL says
// nothing itself.

#include <cstdint>
#include <string>

namespace contrail::launcher {

// Since it was made, on this node.
class MemoryWatch {
 public:
  MemoryWatch();
  // "; the kernel killed ... " where it did, else "".
  std::string Word() const;

 private:
  const uint64_t before_;
};

}  // namespace contrail::launcher
