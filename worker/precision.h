#pragma once
// What a run's products compute in: docs/precision.md.

#include <ATen/core/ScalarType.h>

#include <optional>
#include <string>

#include "common/file_system.h"
#include "configs/config.h"
#include "model/registry.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

struct Precision {
  std::string name = "fp32";  // "fp32" | "bf16" | "fp16"
  std::string reason;         // why, for people

  at::ScalarType type() const;
};

// Collective; the same on every rank. train.precision, and where that is "auto": what the step of
// `checkpoints_dir` that a resume starts from (or step `from`) was trained in (a restart must not
// change the numbers; "" = a fresh run), else bf16 where every rank's processor multiplies pairs of
// bf16 and the model is a ViT that is wide enough to gain by it, else fp32. Throws AgreedError
// E-PRECISION where that step was trained in something else altogether, and what Resume throws
// where it cannot be told.
Precision ChoosePrecision(const FileSystem& fs, Comm& comm, const Config& config,
                          const model::ModelSpec& spec, const std::string& checkpoints_dir,
                          std::optional<uint64_t> from = std::nullopt);

}  // namespace contrail::worker
