#pragma once
// Batches of a whole data set in file order, the next one loading while this one is used.

#include <cstdint>
#include <functional>

#include "data/dataset.h"

namespace contrail::eval {

// Calls `use` with batches of at most `batch_size` samples; the argument `first` is the index of
// the batch's first sample. Images are resized and centre-cropped to `resolution`, by
// as many threads as ATen has.
void ForEachBatch(const data::Dataset& dataset, const data::Tokenizer& tokenizer,
                  int64_t resolution, int64_t batch_size,
                  const std::function<void(const data::Batch& batch, uint64_t first)>& use);

}  // namespace contrail::eval
