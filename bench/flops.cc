#include "bench/flops.h"

namespace contrail::bench {
namespace {

using Count = double;

// A block of `tokens` tokens in sequences; `pairs`: query-key pairs of all sequences; of a last
// block only `rows` rows go beyond keys and values, with `row_pairs` pairs.
Count Block(Count width, Count tokens, Count pairs) {
  return 2 * tokens * width * 12 * width + 4 * pairs * width;
}
Count LastBlock(Count width, Count tokens, Count rows, Count row_pairs) {
  return 2 * tokens * width * 2 * width + 2 * rows * width * 10 * width + 4 * row_pairs * width;
}

Count Text(const model::ModelSpec& spec, const data::Batch& batch) {
  Count tokens = 0, pairs = 0;
  const auto samples = static_cast<Count>(batch.num_samples);
  for (int64_t i = 0; i < batch.num_samples; ++i) {
    const Count length = batch.text_offsets[i + 1] - batch.text_offsets[i];
    tokens += length;
    pairs += length * (length + 1) / 2;
  }
  const auto width = static_cast<Count>(spec.text.width);
  return static_cast<Count>(spec.text.layers - 1) * Block(width, tokens, pairs) +
         LastBlock(width, tokens, samples, tokens) +
         2 * samples * width * static_cast<Count>(spec.embed_dim);
}

// Forward; *without is what has no gradient of its input.
Count Vit(const model::ModelSpec& spec, Count samples, Count* without) {
  const auto width = static_cast<Count>(spec.vit.width), patch = static_cast<Count>(spec.vit.patch);
  const Count side = static_cast<Count>(spec.resolution) / patch, length = side * side + 1;
  *without = 2 * samples * side * side * width * 3 * patch * patch;
  return *without +
         static_cast<Count>(spec.vit.layers - 1) *
             Block(width, samples * length, samples * length * length) +
         LastBlock(width, samples * length, samples, samples * length) +
         2 * samples * width * static_cast<Count>(spec.embed_dim);
}

Count Resnet(const model::ModelSpec& spec, Count samples, Count* without) {
  const auto width = static_cast<Count>(spec.resnet.width);
  Count side = static_cast<Count>(spec.resolution) / 2, in = width, planes = width;
  *without = 2 * samples * side * side * 27 * width / 2;
  Count total =
      *without + 2 * samples * side * side * 9 * (width / 2 * width / 2 + width / 2 * width);
  side /= 2;
  for (size_t stage = 0; stage < spec.resnet.layers.size(); ++stage, planes *= 2) {
    for (int64_t i = 0; i < spec.resnet.layers[stage]; ++i) {
      const Count before = samples * side * side;
      if (stage > 0 && i == 0) side /= 2;
      const Count after = samples * side * side;
      total += 2 * (before * (in * planes + 9 * planes * planes) + after * planes * 4 * planes);
      if (i == 0) total += 2 * after * in * 4 * planes;
      in = 4 * planes;
    }
  }
  // The pool: four projections of one row, and scores and mixtures of each head in C channels.
  const Count heads = in / 64, length = side * side + 1;
  return total + 2 * samples * (3 * in * in + in * static_cast<Count>(spec.embed_dim)) +
         4 * samples * heads * length * in;
}

}  // namespace

double StepFlop(const model::ModelSpec& spec, const data::Batch& batch) {
  Count without = 0;
  const auto samples = static_cast<Count>(batch.num_samples);
  const Count image =
      spec.resnet.layers.empty() ? Vit(spec, samples, &without) : Resnet(spec, samples, &without);
  return 3 * (image + Text(spec, batch)) - without;
}

}  // namespace contrail::bench
