#include "bench/serve.h"

#include <sys/resource.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>

#include "common/clock.h"
#include "common/error.h"

namespace contrail::bench {
namespace {

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double LoopbackBytes() {
  std::ifstream file("/proc/self/net/dev");
  for (std::string line; std::getline(file, line);) {
    const size_t name = line.find("lo:");
    if (name != std::string::npos) return std::stod(line.substr(name + 3));
  }
  return 0;
}

// 0 = the end.
int64_t NextRepetitions(const Team& team) {
  std::string line;
  int64_t repetitions = 0;
  if (team.speaks && std::getline(std::cin, line)) repetitions = std::stoll(line);
  return team.agree ? team.agree(repetitions) : repetitions;
}

void ServeAll(const Work& work, const Team& team, double resident, const Figures& more) {
  while (const int64_t repetitions = NextRepetitions(team)) {
    const double begin = SystemClock().Monotonic(), cpu_begin = CpuSeconds();
    const double wire_begin = LoopbackBytes();
    const double figure = work(repetitions);
    const double seconds = SystemClock().Monotonic() - begin;
    const double wire = LoopbackBytes() - wire_begin;
    std::vector<double> total = {CpuSeconds() - cpu_begin, StatusMib("VmHWM:") - resident};
    if (team.total) team.total(total);
    if (!team.speaks) continue;
    std::printf(
        "{\"seconds\":%.9f,\"cpu_seconds\":%.6f,\"figure\":%.9g,\"peak_mib\":%.1f,"
        "\"loopback_bytes\":%.0f",
        seconds, total[0], figure, total[1], wire);
    for (const auto& [name, value] : more) std::printf(",\"%s\":%.9g", name.c_str(), value);
    std::puts("}");
    std::fflush(stdout);
  }
}

}  // namespace

double StatusMib(const char* field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field)) return std::stod(line.substr(std::strlen(field))) / 1024;
  }
  return 0;
}

int Serve(const Work& work, const Team& team, bool beyond_ready, const Figures& more) {
  if (beyond_ready) std::ofstream("/proc/self/clear_refs") << 5;  // the peak starts here
  const double resident = beyond_ready ? StatusMib("VmRSS:") : 0;
  if (team.speaks) {
    std::puts("ready");
    std::fflush(stdout);
  }
  try {
    ServeAll(work, team, resident, more);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return kExitBug;
  }
  return kExitDone;
}

}  // namespace contrail::bench
