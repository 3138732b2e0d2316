#pragma once
// `contrail view RUN_DIR [--once] [--json] [--series NAME]`.

#include "configs/cli.h"

namespace contrail {

// Returns the exit code. Throws UserError E-VIEW-RUN (no such directory, not a run), E-VIEW-SERIES
// (unknown series: the nearest and all names), E-VIEW-ARGS (options that do not go together).
int RunViewCommand(const ParsedArgs& args);

}  // namespace contrail
