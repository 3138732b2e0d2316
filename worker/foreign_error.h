#pragma once
// Exceptions of others (the library's, LibTorch's) as errors of ours: what a machine lacks is not a
// bug, and may pass.

#include <exception>

#include "common/error.h"

namespace contrail::worker {

// One line, whole. Errors of ours as they are; no memory, also in LibTorch's words: E-MEMORY; no
// thread: E-THREADS; other refusals of the system: E-IO; LibTorch's other errors: E-TORCH (all of
// these may pass on a restart). Anything else is a bug.
Error AsError(const std::exception& error);

}  // namespace contrail::worker
