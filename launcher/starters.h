#pragma once
// The processes of an attempt that have not come up yet, as procfs shows them.

#include <string>
#include <vector>

#include "launcher/arrival.h"
#include "launcher/hang.h"

namespace contrail::launcher {

// Every process of mpirun's session (whose number is its pid) but the ranks that are up. `worker`:
// the program that ranks run.
std::vector<Starter> StartersOf(pid_t mpirun, const std::string& worker,
                                const std::vector<RankView>& up);

}  // namespace contrail::launcher
