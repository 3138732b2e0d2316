#pragma once
// The easy way in for a new block: its forward as a function in plain ATen, its backward from
// autograd. It fits where an explicit block fits (same views, gradients added to bound memory) and
// keeps its input only. It allocates and is slow: no tower of the registry uses it, and a block
// that proves useful is made explicit, with this one as its oracle.

#include <functional>

#include "model/ops/view.h"
#include "model/param_list.h"

namespace contrail::model {

class AutogradBlock {
 public:
  // y [M', N] from x [M, K] and the weights in their declared shapes.
  using Function = std::function<at::Tensor(const at::Tensor& x, const std::vector<at::Tensor>& w)>;
  explicit AutogradBlock(Function forward) : forward_(std::move(forward)) {}

  // Takes the next weights of `cursor`, of these shapes: those that the tower declared.
  void Bind(ParamCursor* cursor, std::vector<std::vector<int64_t>> shapes);

  void Forward(View x, View y) const;
  // Runs the forward again. d_x =; the weights' gradients +=.
  void Backward(View x, View d_y, View d_x) const;

 private:
  std::vector<at::Tensor> Weights(bool with_gradients) const;

  Function forward_;
  std::vector<ParamCursor::Pair> weights_;
  std::vector<std::vector<int64_t>> shapes_;
};

}  // namespace contrail::model
