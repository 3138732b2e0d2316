#include "worker/precision.h"

#include <algorithm>

#include "checkpoint/load.h"
#include "common/error.h"
#include "configs/load.h"
#include "model/ops/kernels/kernels.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

// Narrower products are small beside the passes over rows, which gain nothing (docs/precision.md
// has the ratios).
constexpr int64_t kWideEnough = 256;

bool IsPrecision(const std::string& name) {
  return name == "fp32" || name == "bf16" || name == "fp16";
}

// What the newest step was trained in; "" where there is none or it cannot be read (resuming then
// says so).
std::string Recorded(const FileSystem& fs, const std::string& checkpoints_dir,
                     std::optional<uint64_t> from) {
  if (checkpoints_dir.empty()) return "";
  for (const ckpt::StepEntry& entry : ckpt::ListSteps(fs, checkpoints_dir)) {
    if (from && entry.step != *from) continue;
    try {
      return ckpt::StepReader::Open(fs, entry.dir)->state().precision;
    } catch (const Error&) {
      continue;
    }
  }
  return "";
}

}  // namespace

at::ScalarType Precision::type() const {
  return name == "bf16" ? at::kBFloat16 : name == "fp16" ? at::kHalf : at::kFloat;
}

Precision ChoosePrecision(const FileSystem& fs, Comm& comm, const Config& config,
                          const model::ModelSpec& spec, const std::string& checkpoints_dir,
                          std::optional<uint64_t> from) {
  const std::string& wanted = config.train.precision;
  if (IsPrecision(wanted)) return {wanted, "train.precision"};
  const std::string recorded =
      comm.BroadcastText(comm.rank() == 0 ? Recorded(fs, checkpoints_dir, from) : "", 0);
  if (IsPrecision(recorded)) return {recorded, "auto: as the run was before"};
  if (!recorded.empty()) {
    throw AgreedError(UserError("E-PRECISION", checkpoints_dir,
                                "its newest step was trained in '" + recorded +
                                    "', which this program does not know",
                                "say what to go on in: --set train.precision=fp32"),
                      comm.rank() == 0);
  }
  if (spec.text.width < kWideEnough) {
    return {"fp32", "auto: " + spec.name + " is too narrow to gain much by bf16"};
  }
  if (!spec.resnet.layers.empty()) {
    return {"fp32", "auto: convolutions are no faster in bf16"};
  }
  const auto all = comm.AllGatherText(model::kernels::BestMixed().native_bf16 ? "bf16" : "fp32");
  const auto slow = std::find(all.begin(), all.end(), "fp32");
  if (slow == all.end()) return {"bf16", "auto: the processor multiplies pairs of bf16"};
  const std::string rank = std::to_string(slow - all.begin());
  return {"fp32", comm.size() == 1 ? "auto: the processor has no bf16 products"
                                   : "auto: rank " + rank + "'s processor has no bf16 products"};
}

}  // namespace contrail::worker
