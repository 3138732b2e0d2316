#pragma once
// The commands of contrail-worker that evaluate a model or carry its weights in and out. Each
// returns its exit code and throws contrail::Error; results go to stdout, progress to stderr.

#include "configs/cli.h"

namespace contrail::eval {

int ZeroShotCommand(const ParsedArgs& args);
int EmbedCommand(const ParsedArgs& args);
int ImportCommand(const ParsedArgs& args);
int ExportCommand(const ParsedArgs& args);

}  // namespace contrail::eval
