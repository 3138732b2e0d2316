#pragma once
// The floating-point operations that a training step cannot do without.

#include "data/batch.h"
#include "model/registry.h"

namespace contrail::bench {

// Of matrix products and convolutions, forward and backward: real tokens only, a last transformer
// block for the rows that are read, one query in the attention pool, no gradient of pixels. Nothing
// that is computed twice counts twice.
double StepFlop(const model::ModelSpec& spec, const data::Batch& batch);

}  // namespace contrail::bench
