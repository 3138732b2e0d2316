#pragma once
// The exact contrastive loss over ranks (research basis: Radford et al. 2021, Fig. 3), in one pass
// over tiles and with no feature traffic in backward.
//
// Rank r holds b = B/N rows. With logits l_ij = s <I_i, T_j>:
//   L = 1/(2B) sum_i [ logsumexp_j l_ij + logsumexp_j l_ji - 2 l_ii ]
//   dL/dI_i = s/(2B) sum_j (p^row_ij + p^col_ij - 2 delta_ij) T_j     symmetrically for T
//   dL/ds   = sum_i <I_i, dL/dI_i> / s
// One pass of tiles gives the row sums of exp(l - s/2); an all-reduce of 3 B doubles (row sums,
// column sums, diagonals) gives the column sums. A sum below 1e-25 takes the max-shifted path. Sums
// are kept without their diagonal term, so that p_ii - 1 = -(other terms) / sum loses no digits
// where p_ii is near 1: formed in fp64, before any rounding.
//
// GEMMs of b x B x D: 4 at N = 1 (logits, logits again, two gradients; 3 where all fits in a tile),
// 5 at N > 1. CPU tensors.

#include "model/loss.h"

namespace contrail::model {

class ContrastiveLoss final : public Loss {
 public:
  ContrastiveLoss(int64_t own_rows, int64_t global_rows, int64_t embed_dim,
                  int64_t tile = kLossTile);
  ~ContrastiveLoss() override;
  LossOutput Compute(const LossInput& input, at::Tensor d_image, at::Tensor d_text,
                     const SumOverRanks& sum) override;

 private:
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace contrail::model
