#include "worker/precision.h"

#include <algorithm>

#include "checkpoint/newest.h"
#include "common/error.h"
#include "configs/load.h"
#include "model/ops/kernels/kernels.h"
#include "worker/agree.h"
#include "worker/resume.h"

namespace contrail::worker {
namespace {

// Narrower products are small beside the passes over rows, which gain nothing (docs/precision.md
// has the ratios).
constexpr int64_t kWideEnough = 256;

bool IsPrecision(const std::string& name) {
  return name == "fp32" || name == "bf16" || name == "fp16";
}

// What the step that a resume starts from was trained in; "" where there is none, or it is damaged
// (resuming then says so). Throws where it cannot be told.
std::string Recorded(const FileSystem& fs, const std::string& checkpoints_dir,
                     std::optional<uint64_t> from) {
  if (checkpoints_dir.empty()) return "";
  auto steps = from ? ckpt::ListSteps(fs, checkpoints_dir) : ckpt::ResumeOrder(fs, checkpoints_dir);
  if (from) std::erase_if(steps, [&](const auto& entry) { return entry.step != *from; });
  std::string recorded;
  ckpt::FirstUsable(steps, [&](const ckpt::StepEntry& step) {
    recorded = ckpt::StepReader::Open(fs, step.dir)->state().precision;
  });
  return recorded;
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
  std::string recorded;
  ReadTogether(comm, [&] {
    if (comm.rank() == 0) recorded = Recorded(fs, checkpoints_dir, from);
  });
  recorded = comm.BroadcastText(recorded, 0);
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
