#include "worker/micro_batch.h"

#include <unistd.h>

#include <algorithm>

#include "checkpoint/state.h"
#include "common/error.h"
#include "common/memory_limit.h"
#include "common/strings.h"
#include "model/loss.h"

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

FixedMemory MeasureFixed(const Config& config, const model::ModelSpec& spec, const FlatParams& flat,
                         int64_t share, int batches_ahead) {
  const auto sizes = [](int64_t count, size_t each) { return static_cast<uint64_t>(count) * each; };
  const int64_t batch = config.train.global_batch_size;
  // Ready, one that each thread may hold beyond them, and the one in use.
  const int64_t batches = batches_ahead + config.data.workers + 1;
  const int64_t sample = 3 * spec.resolution * spec.resolution + 4 * spec.text.context;
  const int64_t tile = std::min(model::kLossTile, share) * std::min(model::kLossTile, batch);
  FixedMemory fixed;
  fixed.parameters = static_cast<uint64_t>(flat.bytes());
  fixed.snapshot = ckpt::kNumKinds * sizes(flat.own_elements(), sizeof(float));
  fixed.loader = sizes(batches * share, 1) * static_cast<uint64_t>(sample);
  // Own features twice (packed to be sent), their gradients, and everyone's.
  fixed.features =
      sizes((6 * share + 2 * batch) * spec.embed_dim, sizeof(float)) +
      sizes(2 * tile, sizeof(float)) +  // a tile of logits and the kernels' partial sums
      sizes(8 * batch, sizeof(double));
  fixed.program = uint64_t{96} << 20;  // LibTorch alone writes to 60 MB
  return fixed;
}

uint64_t MemoryOfRank(int ranks_here) {
  uint64_t memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  memory = std::min(memory, MemoryLimit());
  return memory / 10 * 9 / static_cast<uint64_t>(ranks_here);
}

MicroBatch FitMicroBatch(model::ClipModel& model, int64_t share, uint64_t budget, int64_t together,
                         model::Recompute recompute) {
  const auto bytes_of = [&](int64_t samples) {
    model.Plan(samples, samples * model.spec().text.context, {/*for_training=*/true, recompute});
    return model.arena_bytes();
  };
  // Bytes grow linearly with samples, up to alignment: only what seems to fit is planned.
  const int64_t one = bytes_of(together);
  const int64_t each = bytes_of(2 * together) - one;
  for (int64_t parts = 1; parts <= share / together; ++parts) {
    if (share % parts != 0 || share / parts % together != 0) continue;
    const int64_t samples = share / parts;
    const auto about = static_cast<uint64_t>(one + (samples / together - 1) * each);
    if (about > budget) continue;
    const auto bytes = static_cast<uint64_t>(bytes_of(samples));
    if (bytes <= budget) return {samples, bytes, true};
  }
  return {together, static_cast<uint64_t>(one), false};
}

MicroBatch ChooseMicroBatch(const Config& config, model::ClipModel& model, const FixedMemory& fixed,
                            int64_t share, uint64_t memory, int64_t kept, std::string* message) {
  const uint64_t budget = memory - std::min(memory, fixed.total());
  const int64_t together = SamplesTogether(model.spec(), config.train.global_batch_size);
  const int64_t asked = std::min(config.train.micro_batch_size, share);
  const model::Recompute recompute = RecomputeOf(config);
  const bool keep = asked == 0 && kept > 0 && share % kept == 0 && kept % together == 0;
  const int64_t most = asked > 0 ? asked : keep ? kept : share;
  MicroBatch chosen = FitMicroBatch(model, most, budget, together, recompute);
  if (asked > 0 && chosen.samples != asked) {  // the user's choice stands
    model.Plan(asked, asked * model.spec().text.context, {/*for_training=*/true, recompute});
    chosen = {asked, static_cast<uint64_t>(model.arena_bytes()), false};
  }
  *message = "a rank encodes " + std::to_string(chosen.samples) + " of its " +
             std::to_string(share) + " samples at once" +
             (asked > 0                        ? ""
              : keep && chosen.samples == kept ? " (as before)"
                                               : " (auto)") +
             ": " + HumanBytes(chosen.activations) + " of activations beside " +
             HumanBytes(fixed.parameters) + " of weights, gradients and moments, " +
             HumanBytes(fixed.total() - fixed.parameters) +
             " of batches, features, snapshot and program; " + HumanBytes(memory) + " a rank";
  if (!chosen.fits) *message += ", which is less than it needs";
  return chosen;
}

}  // namespace contrail::worker
