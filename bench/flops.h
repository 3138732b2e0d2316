#pragma once
// The floating-point operations that a training step cannot do without, and how fast this machine
// multiplies matrices.

#include "data/batch.h"
#include "model/registry.h"

namespace contrail::bench {

// Of matrix products and convolutions, forward and backward: real tokens only, a last transformer
// block for the rows that are read, one query in the attention pool, no gradient of pixels. Nothing
// that is computed twice counts twice.
double StepFlop(const model::ModelSpec& spec, const data::Batch& batch);

// FLOP/s of the product of a ViT-B's MLP, [1600, 768] x [768, 3072], fp32 on ATen's threads by the
// faster of our kernels and ATen's: the best of some tries.
double GemmRate();

}  // namespace contrail::bench
