#pragma once
// `contrail data ...`

#include "configs/cli.h"

namespace contrail {

// data pack | data index | data check | data order. Gives the exit code; mistakes throw.
int RunDataCommand(const ParsedArgs& args);

}  // namespace contrail
