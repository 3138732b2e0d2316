#pragma once
// Opening a committed step on all ranks at once.

#include <memory>
#include <string>

#include "checkpoint/load.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

// Collective. The root reads COMMIT and buffers.h5 and looks at every shard, once for all; the
// other ranks get what it read. Throws AgreedError with what StepReader::Open throws on the root.
std::unique_ptr<ckpt::StepReader> OpenTogether(const FileSystem& fs, Comm& comm,
                                               const std::string& dir);

}  // namespace contrail::worker
