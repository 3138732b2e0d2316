#include "common/host_name.h"

#include <unistd.h>

#include <array>
#include <climits>
#include <fstream>

namespace contrail {

std::string HostName() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

const std::string& BootId() {
  static const std::string id = [] {
    std::string line;
    std::ifstream in("/proc/sys/kernel/random/boot_id");
    std::getline(in, line);
    return line;
  }();
  return id;
}

}  // namespace contrail
