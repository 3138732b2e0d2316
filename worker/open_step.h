#pragma once
// Opening a committed step on all ranks at once.

#include <functional>
#include <memory>
#include <string>

#include "checkpoint/load.h"
#include "worker/agree.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

// Collective. The root reads COMMIT and buffers.h5 and looks at every shard, once for all; the
// other ranks get what it read. Throws AgreedError with what StepReader::Open throws on the root;
// `agree` is Together, or ReadTogether (worker/resume.h) for a step that was seen a moment ago.
std::unique_ptr<ckpt::StepReader> OpenTogether(
    const FileSystem& fs, Comm& comm, const std::string& dir,
    const std::function<void(Comm&, const std::function<void()>&)>& agree = Together);

}  // namespace contrail::worker
