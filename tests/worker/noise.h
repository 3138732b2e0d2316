#pragma once
// Batches of noise that a tiny-vit can take, for tests of the training step.

#include "common/rng.h"
#include "data/batch.h"
#include "data/tokenizer.h"

namespace contrail::worker {

inline data::Batch NoBatch() {
  data::Batch batch;
  batch.resolution = 28;
  batch.text_offsets = {0};
  return batch;
}

// One more sample: a 28 x 28 image of noise and a caption of 3 to 12 tokens.
inline void AddNoise(RandomStream& draws, data::Batch* batch) {
  for (int64_t p = 0; p < 3 * 28 * 28; ++p) {
    batch->images.push_back(static_cast<uint8_t>(draws.NextBelow(256)));
  }
  batch->token_ids.push_back(data::kStartOfText);
  const uint64_t words = 1 + draws.NextBelow(10);
  for (uint64_t w = 0; w < words; ++w) {
    batch->token_ids.push_back(static_cast<int32_t>(draws.NextBelow(49406)));
  }
  batch->token_ids.push_back(data::kEndOfText);
  batch->text_offsets.push_back(static_cast<int32_t>(batch->token_ids.size()));
  ++batch->num_samples;
}

}  // namespace contrail::worker
