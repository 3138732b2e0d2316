#pragma once
// AdamW with decoupled weight decay (Loshchilov & Hutter 2019; bias correction as PyTorch's
// torch.optim.AdamW) over the rank's own slices: one fused pass a bucket, in fp32. Where the
// bucket's working copy is 16-bit, the pass writes that, too, rounded to nearest.
//
//   g = grad_scale * grad           m = b1 m + (1 - b1) g           v = b2 v + (1 - b2) g^2
//   w = (1 - lr * decay) w - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)
//
// Denormal numbers count as zero. The moments of a row of the token table that no batch holds for
// hundreds of steps sink to a few of the smallest units and stay there, rounding up what decays;
// each would cost thirty to sixty times a normal number's time from then on.
//
// Where moments or the text tower's masters are bf16 (FlatParams::Options), the update is formed in
// fp32 from the widened values and rounded stochastically, without bias. To the nearest would not
// do: exp_avg_sq changes by (1 - b2)(g^2 - v), at b2 = 0.999 at most a thousandth downwards, while
// bf16 numbers are 2^-8 apart, so v could grow but never fall; and most weight updates are smaller
// than half a spacing, so weights would stand still. Unbiased rounding leaves noise instead: a
// standard deviation of v below 4 % at b2 = 0.999 (1 % at 0.98), averaged over its last 1 / (1 -
// b2) roundings. Draws are functions of (seed, step, kind, element), so that a resumed run, at
// another number of ranks too, rounds as the uninterrupted one.

#include <cstdint>

#include "worker/comm/comm.h"
#include "worker/flat.h"

namespace contrail::worker {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.98;    // 0.98 for ViT, 0.999 for ResNet (Radford et al. 2021, table 18)
  double epsilon = 1e-6;  // 1e-6 and 1e-8
  double weight_decay = 0.2;
  uint64_t seed = 0;  // of stochastic rounding
};

// Updates own weights and moments of one bucket from own_grads. `step` counts updates from 1 and
// decides the bias correction. The bucket's weights must be all-gathered before the next forward.
void AdamWStep(FlatParams& flat, int bucket, const AdamWOptions& options, uint64_t step, double lr,
               double grad_scale);

// Sum of squares of this rank's own gradient slices, fp64, in a fixed order.
double SumOfOwnGradSquares(const FlatParams& flat);

// Euclidean norm of the whole gradient after the reduce-scatter, the same on every rank: sums of
// squares of own slices in fp64 in a fixed order, then over ranks. One all-reduce of a number.
double GlobalGradNorm(const FlatParams& flat, Comm& comm);

// Factor that brings a gradient of this norm down to `max_norm`; 1 where max_norm <= 0 (no limit).
double ClipScale(double norm, double max_norm);

// The logit scale is stored as its logarithm; clamps it to [0, ln max_scale] after a step (Radford
// et al. 2021, section 2.5: logits are never scaled by more than 100). Returns the scale itself.
double ClampLogitScale(at::Tensor log_scale, double max_scale);

}  // namespace contrail::worker
