#include "model/bottleneck.h"

#include "common/error.h"

namespace contrail::model {

View Shaped(const Arena& arena, const Slot& slot, int64_t rows, int64_t cols) {
  CONTRAIL_ASSERT(rows * cols <= slot.cols);
  View view = arena.At(slot, 1);
  view.rows = rows;
  view.cols = view.stride = cols;
  return view;
}

Bottleneck::Bottleneck(int64_t in, int64_t planes, int64_t stride)
    : in_(in),
      planes_(planes),
      stride_(stride),
      conv1_({.in = in, .out = planes}),
      conv2_({.in = planes, .out = planes, .kernel = 3}),
      conv3_({.in = planes, .out = planes * kExpansion}) {
  if (stride > 1 || in != planes * kExpansion) {
    downsample_.emplace(ConvShape{.in = in, .out = planes * kExpansion});
  }
}

void Bottleneck::Declare(const std::string& name, ParamList* list) const {
  const Init ones{Init::Kind::kOnes}, zeros{Init::Kind::kZeros};
  conv1_.Declare(name + ".conv1", name + ".bn1", ones, list);
  conv2_.Declare(name + ".conv2", name + ".bn2", ones, list);
  conv3_.Declare(name + ".conv3", name + ".bn3", zeros, list);  // the block begins as identity
  if (downsample_) downsample_->Declare(name + ".downsample.0", name + ".downsample.1", ones, list);
}

void Bottleneck::AddBuffers(const std::string& name, std::vector<BufferSpec>* buffers) const {
  conv1_.AddBuffers(name + ".bn1", buffers);
  conv2_.AddBuffers(name + ".bn2", buffers);
  conv3_.AddBuffers(name + ".bn3", buffers);
  if (downsample_) downsample_->AddBuffers(name + ".downsample.1", buffers);
}

void Bottleneck::Bind(ParamCursor* cursor) {
  for (ConvNorm* conv : {&conv1_, &conv2_, &conv3_}) conv->Bind(cursor);
  if (downsample_) downsample_->Bind(cursor);
}

void Bottleneck::BindBuffers(const std::vector<at::Tensor>& buffers, size_t* next) {
  for (ConvNorm* conv : {&conv1_, &conv2_, &conv3_}) conv->BindBuffers(buffers, next);
  if (downsample_) downsample_->BindBuffers(buffers, next);
}

void Bottleneck::Plan(const ImageShape& in, int64_t groups, const BottleneckLives& lives,
                      LivePlan* plan) {
  const ImageShape out = Out(in);
  const int64_t wide = in.rows() * planes_;
  conv1_.Plan(groups, in.rows(), lives.narrow, lives.state, plan);
  conv2_.Plan(groups, in.rows(), lives.narrow, lives.state, plan);
  if (stride_ > 1) {
    plan->Add(&pooled_, out.rows(), planes_, lives.narrow);
    plan->Add(&pooled_x_, out.rows(), in_, lives.narrow);
  }
  conv3_.Plan(groups, out.rows(), lives.last, lives.state, plan);
  if (downsample_) downsample_->Plan(groups, out.rows(), lives.identity, lives.state, plan);
  if (lives.backward.empty()) return;
  plan->Add(&scratch_.first, 1, std::max({out.rows() * channels_out(), wide, out.rows() * in_}),
            lives.backward);
  plan->Add(&scratch_.second, 1, wide, lives.backward);
}

ConvInput Bottleneck::Middle(const Arena& arena, const BatchNorm& norm2) const {
  if (stride_ == 1) return {norm2.x, norm2.shape, &norm2};
  const ImageShape small = Out(norm2.shape);
  return {arena.At(pooled_, small.rows()), small};
}

ConvInput Bottleneck::Narrow(const Arena& arena, View x, const ImageShape& in) const {
  if (stride_ == 1) return {x, in};
  return {arena.At(pooled_x_, Out(in).rows()), Out(in)};
}

BatchNorm Bottleneck::LastNorm(const Arena& arena, const ImageShape& in, int64_t groups) const {
  return conv3_.Norm(arena, Out(in), groups);
}

void Bottleneck::Forward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in,
                         const NormMode& mode, View out) {
  const BatchNorm norm1 = conv1_.Norm(arena, in, mode.groups);
  const BatchNorm norm2 = conv2_.Norm(arena, in, mode.groups);
  const BatchNorm norm3 = LastNorm(arena, in, mode.groups);
  conv1_.Forward(ops, arena, {x, in}, mode);
  conv2_.Forward(ops, arena, {norm1.x, in, &norm1}, mode);
  const ConvInput middle = Middle(arena, norm2), narrow = Narrow(arena, x, in);
  if (stride_ > 1) ops.AveragePool({norm2.x, in, &norm2}, middle.x);
  conv3_.Forward(ops, arena, middle, mode);
  if (!downsample_) {
    ops.BatchNormAdd(norm3, x, nullptr, out);
    return;
  }
  if (stride_ > 1) ops.AveragePool({x, in}, narrow.x);
  downsample_->Forward(ops, arena, narrow, mode);
  const BatchNorm identity = downsample_->Norm(arena, narrow.shape, mode.groups);
  ops.BatchNormAdd(norm3, identity.x, &identity, out);
}

void Bottleneck::FormLastAgain(const OpTable& ops, const Arena& arena, const ImageShape& in,
                               int64_t groups) const {
  conv3_.FormAgain(ops, arena, Middle(arena, conv2_.Norm(arena, in, groups)), groups);
}

void Bottleneck::FormIdentityAgain(const OpTable& ops, const Arena& arena, View x,
                                   const ImageShape& in, int64_t groups) const {
  if (downsample_) downsample_->FormAgain(ops, arena, Narrow(arena, x, in), groups);
}

void Bottleneck::Backward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in,
                          int64_t groups, View d, View d_x, const Through* before) const {
  const ImageShape small = Out(in);
  const bool pooled = stride_ > 1;
  const BatchNorm norm1 = conv1_.Norm(arena, in, groups), norm2 = conv2_.Norm(arena, in, groups);
  const Through after1{&norm1, Through::Relu::kOwn}, after2{&norm2, Through::Relu::kOwn};
  const ConvInput middle = Middle(arena, norm2), narrow = Narrow(arena, x, in);

  const View d_pre3 = Shaped(arena, scratch_.first, small.rows(), channels_out());
  const View d_middle = Shaped(arena, scratch_.second, small.rows(), planes_);
  conv3_.BackwardWeight(ops, arena, middle, groups, d, d_pre3);
  conv3_.BackwardInput(ops, small, d_pre3, false, d_middle, pooled ? nullptr : &after2);
  const Slot& slot2 = pooled ? scratch_.first : scratch_.second;
  const Slot& slot1 = pooled ? scratch_.second : scratch_.first;
  const View d2 = Shaped(arena, slot2, in.rows(), planes_);
  const View d1 = Shaped(arena, slot1, in.rows(), planes_);
  if (pooled) ops.AveragePoolBackward(d_middle, in, d2, &after2);
  conv2_.BackwardWeight(ops, arena, {norm1.x, in, &norm1}, groups, d2, d2);
  conv2_.BackwardInput(ops, in, d2, false, d1, &after1);
  conv1_.BackwardWeight(ops, arena, {x, in}, groups, d1, d1);

  if (downsample_) {
    const BatchNorm identity = downsample_->Norm(arena, small, groups);
    ops.BatchNormThrough(d, {&identity, Through::Relu::kNone});
    downsample_->BackwardWeight(ops, arena, narrow, groups, d, d);
    const View d_narrow = pooled ? Shaped(arena, slot2, small.rows(), in_) : d_x;
    downsample_->BackwardInput(ops, small, d, false, d_narrow, nullptr);
    if (pooled) ops.AveragePoolBackward(d_narrow, in, d_x, nullptr);
  }
  conv1_.BackwardInput(ops, in, d1, /*add=*/true, d_x, before);  // to the identity's
}

void Bottleneck::DropStatistics() {
  for (ConvNorm* conv : {&conv1_, &conv2_, &conv3_}) conv->DropStatistics();
  if (downsample_) downsample_->DropStatistics();
}

void Bottleneck::FoldStatistics(const OpTable& ops) {
  for (ConvNorm* conv : {&conv1_, &conv2_, &conv3_}) conv->FoldStatistics(ops);
  if (downsample_) downsample_->FoldStatistics(ops);
}

}  // namespace contrail::model
