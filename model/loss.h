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

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>

namespace contrail::model {

struct LossInput {
  at::Tensor image;      // fp32 [b, D] own rows, unit norm
  at::Tensor text;       // fp32 [b, D]
  at::Tensor image_all;  // fp32 [B, D] gathered in rank order
  at::Tensor text_all;   // fp32 [B, D]
  int64_t offset = 0;    // own rows are [offset, offset + b) of the global batch
  double scale = 1;      // s, already exponentiated; 0 < s <= 150
};

struct LossOutput {
  double loss = 0;     // global mean, the same on every rank
  double d_scale = 0;  // dL/ds, global
  // Own rows whose own column is the best one, up to rounding (1e-6 of cosine): a caption that
  // stands twice in the batch counts with its twin. Collapsed features therefore count as correct.
  int64_t correct_image_to_text = 0;
  int64_t correct_text_to_image = 0;
};

// In-place sum over ranks of an fp32 or fp64 tensor; identity on one rank.
using SumOverRanks = std::function<void(at::Tensor)>;

class ContrastiveLoss {
 public:
  // Scratch is allocated here: tiles only, never a b x B matrix.
  ContrastiveLoss(int64_t own_rows, int64_t global_rows, int64_t embed_dim, int64_t tile = 1024);
  ~ContrastiveLoss();
  // Fills d_image, d_text [b, D] with the gradient of the *global mean* loss. Every rank calls it;
  // `sum` is called twice, in the same order everywhere.
  LossOutput Compute(const LossInput& input, at::Tensor d_image, at::Tensor d_text,
                     const SumOverRanks& sum);

 private:
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace contrail::model
