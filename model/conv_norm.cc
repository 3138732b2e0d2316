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

void ConvNorm::Plan(int64_t groups, int64_t rows, const Lives& pre, const Lives& state,
                    LivePlan* plan) {
  plan->Add(&pre_, rows, shape_.out, pre);
  plan->AddWide(&state_, BatchNorm::kStateRows * groups, shape_.out, state);
}

ImageShape ConvNorm::Out(const ImageShape& in) const {
  const int64_t s = shape_.stride;
  return {in.count, (in.height + s - 1) / s, (in.width + s - 1) / s};
}

BatchNorm ConvNorm::Norm(const Arena& arena, const ImageShape& in, int64_t groups) const {
  const ImageShape out = Out(in);
  return {.x = arena.At(pre_, out.rows()),
          .shape = out,
          .groups = groups,
          .state = arena.At(state_, BatchNorm::kStateRows * groups),
          .gain = gain_.weight,
          .bias = bias_.weight,
          .d_gain = gain_.grad,
          .d_bias = bias_.grad};
}

void ConvNorm::Forward(const OpTable& ops, const Arena& arena, const ConvInput& in,
                       const NormMode& mode) {
  const BatchNorm norm = Norm(arena, in.shape, mode.groups);
  ops.Convolve(in, weight_.weight, shape_.stride, norm.x, mode.running ? nullptr : &norm);
  if (mode.running) ops.BatchNormFixed(norm, running_mean_, running_variance_);
  if (!mode.collect) return;
  ops.CollectStatistics(norm, AsView(sums_));
  collected_ += mode.groups;
}

void ConvNorm::FormAgain(const OpTable& ops, const Arena& arena, const ConvInput& in,
                         int64_t groups) const {
  ops.Convolve(in, weight_.weight, shape_.stride, Norm(arena, in.shape, groups).x, nullptr);
}

void ConvNorm::BackwardWeight(const OpTable& ops, const Arena& arena, const ConvInput& in,
                              int64_t groups, View d, View d_pre) const {
  ops.BatchNormBackward(Norm(arena, in.shape, groups), d, d_pre);
  ops.ConvolveBackwardWeight(in, shape_.stride, d_pre, weight_.grad);
}

void ConvNorm::BackwardInput(const OpTable& ops, const ImageShape& in, View d_pre, bool add,
                             View d_x, const Through* through) const {
  CONTRAIL_ASSERT(shape_.stride == 1);
  ops.ConvolveBackwardInput(d_pre, weight_.weight, in, add, d_x, through);
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
