#pragma once
// The benchmark's side of a pair: bench/pairs.py sends a number of repetitions a line, the program
// does them and answers one JSON line, so that two programs can be timed in turns, both warm.

#include <cstdint>
#include <functional>

namespace contrail::bench {

// Called with a number of repetitions; returns a figure that shows that the work was done (a loss,
// a count), shown by bench/pairs.py beside the times.
using Work = std::function<double(int64_t repetitions)>;

// Until stdin ends. Answers {"seconds":..,"cpu_seconds":..,"figure":..,"peak_mib":..}: wall time
// and processor time of all threads for the work alone, and the peak resident memory so far.
int Serve(const Work& work);

}  // namespace contrail::bench
