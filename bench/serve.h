#pragma once
// The benchmark's side of a pair: bench/pairs.py sends a number of repetitions a line, the program
// does them and answers one JSON line, so that two programs can be timed in turns, both warm.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace contrail::bench {

// Called with a number of repetitions; returns a figure that shows that the work was done (a loss,
// a count), shown by bench/pairs.py beside the times.
using Work = std::function<double(int64_t repetitions)>;

// How several processes do the same work together (bench/ranks.h). The one that speaks reads and
// answers for all.
struct Team {
  bool speaks = true;
  std::function<int64_t(int64_t)> agree;            // the speaker's number on every rank
  std::function<void(std::vector<double>&)> total;  // sums over ranks, in place
};

// Until stdin ends. Answers {"seconds":..,"cpu_seconds":..,"figure":..,"peak_mib":..,
// "loopback_bytes":..}: wall time, processor time of all threads, the peak resident memory beyond
// what was resident at "ready" or, without `beyond_ready`, all of it, and what went over the
// loopback interface meanwhile (by any program). Times and memory are sums over a team's ranks.
// `more` are further figures of each answer, by name.
using Figures = std::map<std::string, double>;
int Serve(const Work& work, const Team& team = {}, bool beyond_ready = false,
          const Figures& more = {});

// "VmRSS:": what is resident now; "VmHWM:": its peak.
double StatusMib(const char* field);

}  // namespace contrail::bench
