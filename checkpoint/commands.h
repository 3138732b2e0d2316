#pragma once
// `contrail checkpoint (list|show|verify|index|prune) PATH`. PATH: a run directory, its checkpoints
// directory, or (not for prune) one step. Answers on stdout, with --json one JSON value and nothing
// else; messages on stderr.

#include "configs/cli.h"

namespace contrail {

// Returns the exit code: 0, or 2 where `verify` found damage (each finding is a line on stderr).
// Throws UserError E-CKPT-MISSING, E-CKPT-UNCOMMITTED, E-CKPT-VERSION, E-CLI-VALUE and
// EnvironmentError E-CKPT-CORRUPT, E-IO.
int RunCheckpointCommand(const ParsedArgs& args);

}  // namespace contrail
