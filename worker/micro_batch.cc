#include "worker/micro_batch.h"

#include <unistd.h>

#include "common/error.h"

namespace contrail::worker {
namespace {

std::string OriginOf(const Config& config, const std::string& key) {
  const auto found = config.origin.find(key);
  return found == config.origin.end() || found->second == "default" ? config.file : found->second;
}

// The largest divisor of `whole` up to `limit` that is a multiple of `unit`, which divides it; at
// least `unit`.
int64_t LargestDivisor(int64_t whole, int64_t limit, int64_t unit) {
  int64_t divisor = std::max(unit, std::min(limit, whole) / unit * unit);
  while (whole % divisor != 0) divisor -= unit;
  return divisor;
}

}  // namespace

int64_t SamplesTogether(const model::ModelSpec& spec, int64_t global_batch) {
  return spec.resnet.layers.empty() ? 1 : std::min(spec.resnet.bn_group_size, global_batch);
}

void CheckMicroBatch(const Config& config, const model::ModelSpec& spec, int ranks) {
  const int64_t batch = config.train.global_batch_size;
  const int64_t share = batch / ranks;
  const int64_t group = SamplesTogether(spec, batch);
  if (share % group != 0) {
    int64_t fewer = ranks;
    while (fewer > 1 && (batch % fewer != 0 || batch / fewer % group != 0)) --fewer;
    const int64_t smaller = LargestDivisor(share, group, 1);
    std::string fix = batch % group == 0 ? "use " + std::to_string(fewer) + " ranks" : "";
    if (smaller > 1) {
      fix += (fix.empty() ? "use" : ", or") + (" groups of " + std::to_string(smaller)) +
             " (which trains another function)";
    }
    throw UserError("E-BN-GROUPS", OriginOf(config, "model.bn_group_size"),
                    "a rank's share of the batch, " + std::to_string(share) +
                        ", is not whole groups of model.bn_group_size " + std::to_string(group),
                    fix);
  }
  const int64_t micro = config.train.micro_batch_size;
  if (micro == 0 || micro >= share || (share % micro == 0 && micro % group == 0)) return;
  throw UserError("E-MICRO-BATCH", OriginOf(config, "train.micro_batch_size"),
                  "a rank's share of the batch, " + std::to_string(share) +
                      ", is not a multiple of train.micro_batch_size " + std::to_string(micro) +
                      (group > 1 ? " in whole groups of " + std::to_string(group) : ""),
                  "use " + std::to_string(LargestDivisor(share, micro, group)) + ", or \"auto\"");
}

model::Recompute RecomputeOf(const Config& config) {
  const auto has = [&](const char* kind) {
    const std::vector<std::string>& kinds = config.train.recompute;
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  };
  return {.vit = has("vit"), .text = has("text"), .resnet = has("resnet")};
}

int64_t FitMicroBatch(model::ClipModel& model, int64_t local_batch, uint64_t budget_bytes,
                      int64_t together, model::Recompute recompute) {
  const auto bytes_of = [&](int64_t samples) {
    model.Plan(samples, samples * model.spec().text.context, {/*for_training=*/true, recompute});
    return model.arena_bytes();
  };
  // Bytes grow linearly with samples.
  const int64_t one = bytes_of(1);
  const int64_t each = bytes_of(2) - one;
  for (int64_t parts = 1; parts < local_batch; ++parts) {
    if (local_batch % parts != 0 || local_batch / parts % together != 0) continue;
    const int64_t samples = local_batch / parts;
    if (static_cast<uint64_t>(one + (samples - 1) * each) <= budget_bytes) return samples;
  }
  return together;
}

uint64_t ActivationBudget(int ranks_here) {
  const auto pages = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES));
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 2 /
         static_cast<uint64_t>(ranks_here);
}

}  // namespace contrail::worker
