#include "tests/model/loss_oracle.h"

#include <ATen/CPUGeneratorImpl.h>

namespace contrail::model {
namespace {

int64_t StrictlyBestOnDiagonal(const at::Tensor& logits) {
  at::Tensor others = logits.detach().clone();
  others.fill_diagonal_(-std::numeric_limits<double>::infinity());
  return (logits.detach().diagonal() > std::get<0>(others.max(1))).sum().item<int64_t>();
}

}  // namespace

DenseLoss DenseContrastiveLoss(const at::Tensor& image, const at::Tensor& text, double scale,
                               at::ScalarType type) {
  at::Tensor I = image.to(type).detach().clone().requires_grad_(true);
  at::Tensor T = text.to(type).detach().clone().requires_grad_(true);
  at::Tensor s = at::full({}, scale, type).requires_grad_(true);
  at::Tensor logits = s * at::mm(I, T.t());
  at::Tensor loss =
      (at::logsumexp(logits, 1) + at::logsumexp(logits, 0) - 2 * logits.diagonal()).mean() / 2;
  loss.backward();
  DenseLoss result;
  result.loss = loss.item<double>();
  result.d_scale = s.grad().item<double>();
  result.d_image = I.grad().to(at::kDouble);
  result.d_text = T.grad().to(at::kDouble);
  result.correct_image_to_text = StrictlyBestOnDiagonal(logits);
  result.correct_text_to_image = StrictlyBestOnDiagonal(logits.t());
  return result;
}

// open_clip's SigLipLoss on one rank, in its own words: -log sigmoid(y l) summed over pairs, by B.
DenseLoss DenseSigmoidLoss(const at::Tensor& image, const at::Tensor& text, double scale,
                           double bias, at::ScalarType type) {
  at::Tensor I = image.to(type).detach().clone().requires_grad_(true);
  at::Tensor T = text.to(type).detach().clone().requires_grad_(true);
  at::Tensor s = at::full({}, scale, type).requires_grad_(true);
  at::Tensor c = at::full({}, bias, type).requires_grad_(true);
  const int64_t B = image.size(0);
  at::Tensor logits = s * at::mm(I, T.t()) + c;
  const at::Tensor labels = 2 * at::eye(B, type) - at::ones({B, B}, type);
  at::Tensor loss = -at::log_sigmoid(labels * logits).sum() / B;
  loss.backward();
  DenseLoss result;
  result.loss = loss.item<double>();
  result.d_scale = s.grad().item<double>();
  result.d_bias = c.grad().item<double>();
  result.d_image = I.grad().to(at::kDouble);
  result.d_text = T.grad().to(at::kDouble);
  result.correct_image_to_text = StrictlyBestOnDiagonal(logits);
  result.correct_text_to_image = StrictlyBestOnDiagonal(logits.t());
  return result;
}

Features MakeFeatures(int64_t rows, int64_t dim, double agreement, uint64_t seed) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto unit = [](const at::Tensor& x) { return x / x.norm(2, {1}, true); };
  at::Tensor image = unit(at::randn({rows, dim}, generator, at::kDouble));
  at::Tensor noise = unit(at::randn({rows, dim}, generator, at::kDouble));
  noise = unit(noise - (noise * image).sum(1, true) * image);  // orthogonal to its image
  at::Tensor text = agreement * image + std::sqrt(1 - agreement * agreement) * noise;
  return {image.to(at::kFloat), text.to(at::kFloat)};
}

double RelativeError(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor reference = b.to(at::kDouble);
  return ((a.to(at::kDouble) - reference).norm() / reference.norm()).item<double>();
}

}  // namespace contrail::model
