#pragma once
// What training minimises: a function of the global batch's unit-norm features, a logit scale and,
// for some losses, a logit bias. Gathered features are arguments, so that this folder knows no
// communication; gradients come back for own rows only and need no feature traffic.
//
//   "clip"    softmax over rows and columns                 model/contrastive_loss.h
//   "siglip"  a sigmoid for every pair, with a bias         model/sigmoid_loss.h

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace contrail::model {

struct LossInput {
  at::Tensor image;      // fp32 [b, D] own rows, unit norm
  at::Tensor text;       // fp32 [b, D]
  at::Tensor image_all;  // fp32 [B, D] gathered in rank order
  at::Tensor text_all;   // fp32 [B, D]
  int64_t offset = 0;    // own rows are [offset, offset + b) of the global batch
  double scale = 1;      // s, already exponentiated; 0 < s <= 150
  double bias = 0;       // added to every logit; "siglip" only
};

struct LossOutput {
  double loss = 0;     // global mean, the same on every rank
  double d_scale = 0;  // dL/ds, global
  double d_bias = 0;   // dL/dbias, global; 0 for losses without one
  // Own rows whose own column is the best one, up to rounding (1e-6 of cosine): a caption that
  // stands twice in the batch counts with its twin. Collapsed features therefore count as correct.
  int64_t correct_image_to_text = 0;
  int64_t correct_text_to_image = 0;
};

// In-place sum over ranks of an fp32 or fp64 tensor; identity on one rank.
using SumOverRanks = std::function<void(at::Tensor)>;

class Loss {
 public:
  virtual ~Loss() = default;
  // Fills d_image, d_text [b, D] with the gradient of the *global mean* loss. Every rank calls it;
  // `sum` is called in the same order everywhere.
  virtual LossOutput Compute(const LossInput& input, at::Tensor d_image, at::Tensor d_text,
                             const SumOverRanks& sum) = 0;
};

inline constexpr int64_t kLossTile = 1024;

// `name` as train.loss; a bug for others. Scratch is allocated here: tiles only, never a b x B
// matrix.
std::unique_ptr<Loss> MakeLoss(const std::string& name, int64_t own_rows, int64_t global_rows,
                               int64_t embed_dim, int64_t tile = kLossTile);

}  // namespace contrail::model
