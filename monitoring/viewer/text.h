#pragma once
// How the viewer writes numbers; one place so that page, frame and status line agree.

#include <cstdint>
#include <string>

#include "monitoring/viewer/status.h"

namespace contrail::monitor {

std::string Thousands(uint64_t value);        // "51,200"
std::string Short(double value);              // 4 significant digits; "nan"
std::string Rate(double samples_per_second);  // "41.2k", "512"
std::string Percent(double share);            // "87.3 %"; "-" for NaN
std::string Milliseconds(double seconds);     // "12.3 ms", "1.24 s"
std::string Compact(double seconds);          // "7h12m", "3m10s", "42s"
std::string ClockTime(double unix_seconds);   // "2026-11-24 08:31:07 UTC"

// "12 / 400 steps (3.0 %)", "12 steps" where the total is not known.
std::string StepOfTotal(const RunStatus& status);
// "rank 2 died at step 210: killed by signal 9; restart with 4 ranks from step 200".
std::string IncidentLine(const Incident& incident);
// "5.0 s to the next new step: notice 0.3, stop 0.2, restart 1.5, load 0.4, redo 2.3 s".
std::string LedgerLine(const Incident& incident);
// The figures of an evaluation that a person asks for first.
std::string EvalSummary(const EvalLine& eval);
std::string StragglerLine(const Straggler& straggler);
// "13 samples, 0.051 % of those seen".
std::string ReplacedShare(const RunStatus& status);

}  // namespace contrail::monitor
