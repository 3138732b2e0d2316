#include "bench/serve.h"

#include <sys/resource.h>

#include <cstdio>
#include <iostream>
#include <string>

#include "common/clock.h"
#include "common/error.h"

namespace contrail::bench {
namespace {

rusage Usage() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage;
}

double CpuSeconds() {
  const rusage usage = Usage();
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double PeakMib() { return static_cast<double>(Usage().ru_maxrss) / 1024; }

}  // namespace

int Serve(const Work& work) {
  std::puts("ready");
  std::fflush(stdout);
  try {
    for (std::string line; std::getline(std::cin, line);) {
      const double begin = SystemClock().Monotonic(), cpu_begin = CpuSeconds();
      const double figure = work(std::stoll(line));
      std::printf("{\"seconds\":%.9f,\"cpu_seconds\":%.6f,\"figure\":%.9g,\"peak_mib\":%.1f}\n",
                  SystemClock().Monotonic() - begin, CpuSeconds() - cpu_begin, figure, PeakMib());
      std::fflush(stdout);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return kExitBug;
  }
  return kExitDone;
}

}  // namespace contrail::bench
