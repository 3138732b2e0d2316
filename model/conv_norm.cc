#include "model/conv_norm.h"

#include "common/error.h"

namespace contrail::model {

void ConvNorm::Declare(const std::string& conv, const std::string& norm, Init gain,
                       ParamList* list) const {
  const int64_t k = shape_.kernel;
  const auto fan_in = static_cast<double>(shape_.in * k * k);
  list->Add(conv + ".weight", {shape_.out, shape_.in, k, k}, Uniform(1.0 / std::sqrt(fan_in)));
  list->Add(norm + ".weight", {shape_.out}, gain);
  list->Add(norm + ".bias", {shape_.out}, {Init::Kind::kZeros});
}

void ConvNorm::AddBuffers(const std::string& norm, std::vector<BufferSpec>* buffers) const {
  buffers->push_back({norm + ".running_mean", {shape_.out}, 0});
  buffers->push_back({norm + ".running_var", {shape_.out}, 1});
}

void ConvNorm::Bind(ParamCursor* cursor) {
  for (ParamCursor::Pair* pair : {&weight_, &gain_, &bias_}) *pair = cursor->Next();
}

void ConvNorm::BindBuffers(const std::vector<at::Tensor>& buffers, size_t* next) {
  CONTRAIL_ASSERT(*next + 2 <= buffers.size());
  running_mean_ = AsView(buffers[(*next)++]);
  running_variance_ = AsView(buffers[(*next)++]);
  sums_ = at::zeros({2, shape_.out}, buffers[*next - 1].options());
  collected_ = 0;
}

void ConvNorm::Plan(int64_t samples, int64_t rows, bool training, ArenaPlan* plan) {
  training_ = training;
  if (!training) return;
  pre_ = plan->Add(rows, shape_.out);
  stats_ = plan->Add(3 * samples, shape_.out);  // a group has at least one sample
}

void ConvNorm::Forward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in,
                       View residual, const NormMode& mode, View out) {
  const View pre = training_ ? arena.At(pre_, out.rows) : out;
  if (shape_.kernel == 1) {
    ops.Linear(x, weight_.weight, {}, {}, pre);
  } else {
    ops.Convolve(x, in, weight_.weight, shape_.stride, pre);
  }
  if (mode.running) {
    ops.BatchNormFixed(pre, gain_.weight, bias_.weight, running_mean_, running_variance_, residual,
                       shape_.relu, out);
    return;
  }
  const View stats = arena.At(stats_, 3 * mode.groups);
  ops.BatchNorm(pre, gain_.weight, bias_.weight, residual, shape_.relu, mode.groups, out, stats);
  if (mode.collect) {
    ops.CollectStatistics(stats, mode.groups, pre.rows / mode.groups, AsView(sums_));
    collected_ += mode.groups;
  }
}

void ConvNorm::Backward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in,
                        View out, const NormMode& mode, View d, View d_pre, View d_x) const {
  const bool split = d_pre.data != d.data;
  ops.BatchNormBackward(arena.At(pre_, d.rows), arena.At(stats_, 3 * mode.groups), gain_.weight,
                        shape_.relu ? out : View{}, d, mode.groups, d_pre, split ? d : View{},
                        gain_.grad, bias_.grad);
  if (shape_.kernel != 1) {
    ops.ConvolveBackward(x, in, weight_.weight, shape_.stride, d_pre, d_x, weight_.grad);
    return;
  }
  ops.LinearBackwardWeight(x, d_pre, weight_.grad, {});
  if (d_x) ops.LinearBackwardInput(d_pre, weight_.weight, d_x);
}

void ConvNorm::FoldStatistics(const OpTable& ops) {
  constexpr double kMomentum = 0.1;  // PyTorch's
  if (collected_ == 0) return;
  ops.FoldStatistics(AsView(sums_), collected_, kMomentum, running_mean_, running_variance_);
  collected_ = 0;
}

void ConvNorm::DropStatistics() {
  sums_.zero_();
  collected_ = 0;
}

}  // namespace contrail::model
