#include "model/autograd_block.h"

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include "common/error.h"

namespace contrail::model {
namespace {

// The view's own memory as a tensor that autograd may follow; trainers run in inference mode.
at::Tensor Matrix(View v) {
  return at::from_blob(v.data, {v.rows, v.cols}, {v.stride, 1}, at::TensorOptions().dtype(v.type));
}

}  // namespace

void AutogradBlock::Bind(ParamCursor* cursor, std::vector<std::vector<int64_t>> shapes) {
  shapes_ = std::move(shapes);
  weights_.clear();
  for (const std::vector<int64_t>& shape : shapes_) {
    weights_.push_back(cursor->Next());
    const View& weight = weights_.back().weight;
    CONTRAIL_ASSERT(c10::multiply_integers(shape) == weight.rows * weight.cols);
  }
}

std::vector<at::Tensor> AutogradBlock::Weights(bool with_gradients) const {
  std::vector<at::Tensor> weights;
  for (size_t i = 0; i < weights_.size(); ++i) {
    weights.push_back(
        Matrix(weights_[i].weight).view(shapes_[i]).detach().requires_grad_(with_gradients));
  }
  return weights;
}

void AutogradBlock::Forward(View x, View y) const {
  const c10::InferenceMode inference;
  Matrix(y).copy_(forward_(Matrix(x), Weights(false)));
}

void AutogradBlock::Backward(View x, View d_y, View d_x) const {
  const c10::InferenceMode not_inference(false);
  const c10::AutoGradMode gradients(true);
  const at::Tensor input = Matrix(x).detach().requires_grad_(true);
  const std::vector<at::Tensor> weights = Weights(true);
  forward_(input, weights).backward(Matrix(d_y));
  const c10::NoGradGuard no_gradients;
  Matrix(d_x).copy_(input.grad());
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!weights[i].grad().defined()) continue;  // the block does not use it
    at::Tensor grad = Matrix(weights_[i].grad).view(shapes_[i]);
    grad.add_(weights[i].grad());
  }
}

}  // namespace contrail::model
