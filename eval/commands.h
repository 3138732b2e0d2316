#pragma once
// The evaluation commands of contrail-worker. Each returns its exit code and throws
// contrail::Error; results go to stdout, progress to stderr.

#include "configs/cli.h"

namespace contrail::eval {

int ZeroShotCommand(const ParsedArgs& args);
int EmbedCommand(const ParsedArgs& args);

}  // namespace contrail::eval
