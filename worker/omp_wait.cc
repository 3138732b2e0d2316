#include "worker/omp_wait.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace contrail::worker {

void SleepWhileWaiting(int argc, char** argv) {
  constexpr const char* kName = "OMP_WAIT_POLICY";
  if (std::getenv(kName) != nullptr) return;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--threads=1") return;
    if (word == "--threads" && i + 1 < argc && std::string_view(argv[i + 1]) == "1") return;
  }
  setenv(kName, "passive", 1);
  execv("/proc/self/exe", argv);
  // Going on with spinning threads is slower, not wrong.
}

}  // namespace contrail::worker
