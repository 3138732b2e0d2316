// A new block that begins life with a backward from autograd: here a gated residual,
//   y = x + sigmoid(x g^T + b) * (x v^T),
// beside the same block over the op table's products, by hand.
#include "model/autograd_block.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "model/ops/op_table.h"
#include "tests/model/oracle.h"

namespace contrail::model {
namespace {

constexpr int64_t kRows = 11, kWidth = 6;
const std::vector<std::vector<int64_t>> kShapes = {
    {kWidth, kWidth}, {kWidth}, {kWidth, kWidth}, {3, 1}};

at::Tensor Gated(const at::Tensor& x, const std::vector<at::Tensor>& w) {
  return x + at::sigmoid(at::linear(x, w[0], w[1])) * at::linear(x, w[2]);
}

// What a tower declares and a trainer binds; the last weight is one that the block does not use.
BoundParams MakeParams() {
  ParamList list;
  list.NextGroup();
  list.Add("gate.weight", kShapes[0], Normal(0.5));
  list.Add("gate.bias", kShapes[1], Normal(0.5));
  list.Add("value.weight", kShapes[2], Normal(0.5));
  list.Add("unused", kShapes[3], Normal(0.5));
  BoundParams bound;
  for (const ParamSpec& spec : list.specs()) {
    at::Tensor value = at::empty({NumElements(spec)});
    InitParam(spec, 1, value);
    bound.weights.push_back(value.to(at::kDouble).view(spec.shape));
    bound.grads.push_back(at::full(spec.shape, 0.25, at::kDouble));
  }
  return bound;
}

TEST(AutogradBlock, IsABlockLikeAnother) {
  const BoundParams bound = MakeParams();
  const at::Tensor x = RandomTensor({kRows, kWidth}, 1), d_y = RandomTensor({kRows, kWidth}, 2);
  at::Tensor y = at::empty_like(x), d_x = at::empty_like(x);
  AutogradBlock block(Gated);
  ParamCursor cursor(bound);
  block.Bind(&cursor, kShapes);
  {
    const c10::InferenceMode as_in_a_trainer;
    block.Forward(AsView(x), AsView(y));
    block.Backward(AsView(x), AsView(d_y), AsView(d_x));
  }

  // By hand: s = sigmoid(a), y = x + s v; d_a = d_y v s (1 - s), d_v = d_y s.
  const OpTable& ops = CpuOps();
  at::Tensor a = at::empty_like(x), v = at::empty_like(x), to_x = at::empty_like(x);
  const auto w = [&](size_t i) { return AsView(bound.weights[i]); };
  ops.Linear(AsView(x), w(0), w(1), {}, AsView(a));
  ops.Linear(AsView(x), w(2), {}, {}, AsView(v));
  const at::Tensor s = at::sigmoid(a);
  EXPECT_LT(Distance(y, x + s * v), 1e-14);
  const at::Tensor d_a = d_y * v * s * (1 - s), d_v = d_y * s;
  std::vector<at::Tensor> grads;
  for (const auto& shape : kShapes) grads.push_back(at::full(shape, 0.25, at::kDouble));
  ops.LinearBackwardWeight(AsView(x), AsView(d_a), AsView(grads[0]), AsView(grads[1]));
  ops.LinearBackwardWeight(AsView(x), AsView(d_v), AsView(grads[2]), {});
  at::Tensor d_hand = d_y.clone();
  for (const auto& [d, i] : {std::pair<at::Tensor, size_t>{d_a, 0}, {d_v, 2}}) {
    ops.LinearBackwardInput(AsView(d), w(i), AsView(to_x));
    d_hand += to_x;
  }
  EXPECT_LT(Distance(d_x, d_hand), 1e-14);
  for (size_t i = 0; i < grads.size(); ++i) EXPECT_LT(Distance(bound.grads[i], grads[i]), 1e-14);
}

// Columns of a wider matrix, as blocks read each other's slots.
TEST(AutogradBlock, ReadsViewsWithStrides) {
  const BoundParams bound = MakeParams();
  const at::Tensor wide = RandomTensor({kRows, 3 * kWidth}, 3), x = wide.narrow(1, kWidth, kWidth);
  at::Tensor y = at::empty({kRows, kWidth}, at::kDouble);
  AutogradBlock block(Gated);
  ParamCursor cursor(bound);
  block.Bind(&cursor, kShapes);
  block.Forward(AsView(wide).Cols(kWidth, kWidth), AsView(y));
  EXPECT_LT(Distance(y, Gated(x, bound.weights)), 1e-14);
}

}  // namespace
}  // namespace contrail::model
