#pragma once
// The losses as dense B x B matrices in fp64 with autograd: the definitions that model/loss.h is
// held against. Shared by the in-process and the mpirun tests.

#include <ATen/ATen.h>

#include <string>

namespace contrail::model {

struct DenseLoss {
  double loss = 0;
  double d_scale = 0;
  double d_bias = 0;
  at::Tensor d_image, d_text;  // fp64 [B, D]
  int64_t correct_image_to_text = 0;
  int64_t correct_text_to_image = 0;
};

// image, text: [B, D]; computed in `type`.
DenseLoss DenseContrastiveLoss(const at::Tensor& image, const at::Tensor& text, double scale,
                               at::ScalarType type = at::kDouble);

DenseLoss DenseSigmoidLoss(const at::Tensor& image, const at::Tensor& text, double scale,
                           double bias, at::ScalarType type = at::kDouble);

// Unit rows whose pairs agree with cosine near `agreement`; deterministic.
struct Features {
  at::Tensor image, text;  // fp32 [B, D]
};
Features MakeFeatures(int64_t rows, int64_t dim, double agreement, uint64_t seed);

// |a - b| / |b| in the Frobenius norm, fp64.
double RelativeError(const at::Tensor& a, const at::Tensor& b);

}  // namespace contrail::model
