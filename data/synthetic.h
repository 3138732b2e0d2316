#pragma once
// data.train = "synthetic": random pixels and random tokens, made in no time.
//
// A run on them costs what its model and its network cost: the difference to a run on real shards
// is the loader. Nothing can be learned from them, and no evaluation of such a model is made.

#include <memory>

#include "configs/config.h"
#include "data/dataset.h"

namespace contrail::data {

// data.synthetic_samples pairs; a pair is a function of (run.seed, sample), a caption has one of
// the lengths of data.synthetic_caption_tokens. Throws UserError E-DATA-SYNTHETIC: no such length.
std::shared_ptr<const Dataset> MakeSynthetic(const Config& config);

}  // namespace contrail::data
