#include "bench/serve.h"

#include <sys/resource.h>

#include <cstdio>
#include <iostream>
#include <string>

#include "common/clock.h"
#include "common/error.h"

namespace contrail::bench {
namespace {

double PeakMib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace

int Serve(const Work& work) {
  std::puts("ready");
  std::fflush(stdout);
  try {
    for (std::string line; std::getline(std::cin, line);) {
      const double begin = SystemClock().Monotonic();
      const double figure = work(std::stoll(line));
      const double seconds = SystemClock().Monotonic() - begin;
      std::printf("{\"seconds\":%.9f,\"figure\":%.9g,\"peak_mib\":%.1f}\n", seconds, figure,
                  PeakMib());
      std::fflush(stdout);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return kExitBug;
  }
  return kExitDone;
}

}  // namespace contrail::bench
