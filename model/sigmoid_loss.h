#pragma once
// SigLIP's loss over ranks (Zhai et al. 2023, "Sigmoid loss for language image pre-training",
// algorithm 1; normalised as open_clip's SigLipLoss: a sum over pairs, a mean over images).
//
// With logits l_ij = s <I_i, T_j> + bias, and g_ij = sigmoid(l_ij) - delta_ij:
//   L = 1/B sum_ij softplus(l_ij) - 1/B sum_i l_ii           = -1/B sum_ij log sigmoid(y_ij l_ij)
//   dL/dI_i = s/B sum_j g_ij T_j   symmetrically for T
//   dL/ds = sum_i <I_i, dL/dI_i> / s        dL/dbias = 1/B sum_ij g_ij
// A pair knows nothing of the others, so own rows against all columns are one pass of tiles that
// gives the loss and the gradient at once; one all-reduce of 3 doubles makes them global. The
// diagonal is formed in fp64 from the cosine.
//
// GEMMs of b x B x D: 3 at N = 1, 4 at N > 1. CPU tensors.

#include "model/loss.h"

namespace contrail::model {

class SigmoidLoss final : public Loss {
 public:
  SigmoidLoss(int64_t own_rows, int64_t global_rows, int64_t embed_dim, int64_t tile = kLossTile);
  ~SigmoidLoss() override;
  LossOutput Compute(const LossInput& input, at::Tensor d_image, at::Tensor d_text,
                     const SumOverRanks& sum) override;

 private:
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace contrail::model
