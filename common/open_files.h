#pragma once
// How many files this process may have open at once.

namespace contrail {

// Raises the limit as far as it may be raised (shells give 1,024; peers' sockets and shards
// together are more). Processes that are started later inherit it.
void RaiseOpenFilesLimit();

}  // namespace contrail
