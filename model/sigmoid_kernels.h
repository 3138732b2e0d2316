#pragma once
// Elementwise passes over one tile of cosines, for model/sigmoid_loss.cc; as model/loss_kernels.h.

#include "model/loss_kernels.h"

namespace contrail::model::loss {

// With l = s x + bias: x <- sigmoid(l). Adds softplus(l) = log(1 + exp(l)) to row_loss and
// sigmoid(l) to row_weight; raises row_max and column_max to the largest x. `partial`: scratch of
// 2 * stride floats for each block of rows.
void SigmoidAndSum(Tile tile, float s, float bias, double* row_loss, double* row_weight,
                   float* row_max, float* column_max, float* partial);

// x <- sigmoid(s x + bias); raises row_max.
void Sigmoid(Tile tile, float s, float bias, float* row_max);

}  // namespace contrail::model::loss
