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
    downsample_.emplace(ConvShape{.in = in, .out = planes * kExpansion, .relu = false});
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

void Bottleneck::Plan(const ImageShape& in, bool training, ArenaPlan* plan) {
  const ImageShape out = Out(in);
  conv1_.Plan(in.count, in.rows(), training, plan);
  y1_ = plan->Add(in.rows(), planes_);
  conv2_.Plan(in.count, in.rows(), training, plan);
  y2_ = plan->Add(in.rows(), planes_);
  if (stride_ > 1) {
    pooled_ = plan->Add(out.rows(), planes_);
    pooled_x_ = plan->Add(out.rows(), in_);
  }
  conv3_.Plan(in.count, out.rows(), training, plan);
  if (downsample_) {
    downsample_->Plan(in.count, out.rows(), training, plan);
    identity_ = plan->Add(out.rows(), channels_out());
  }
}

void Bottleneck::Forward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in,
                         const NormMode& mode, View out) {
  const ImageShape small = Out(in);
  const View y1 = arena.At(y1_, in.rows()), y2 = arena.At(y2_, in.rows());
  conv1_.Forward(ops, arena, x, in, {}, mode, y1);
  conv2_.Forward(ops, arena, y1, in, {}, mode, y2);
  View middle = y2, identity = x;
  if (stride_ > 1) {
    middle = arena.At(pooled_, small.rows());
    identity = arena.At(pooled_x_, small.rows());
    ops.AveragePool(y2, in, middle);
    ops.AveragePool(x, in, identity);
  }
  if (downsample_) {
    const View narrow = identity;
    identity = arena.At(identity_, small.rows());
    downsample_->Forward(ops, arena, narrow, small, {}, mode, identity);
  }
  conv3_.Forward(ops, arena, middle, small, identity, mode, out);
}

void Bottleneck::Backward(const OpTable& ops, const Arena& arena, const ResnetScratch& scratch,
                          View x, const ImageShape& in, View out, const NormMode& mode, View d,
                          View d_x) const {
  const ImageShape small = Out(in);
  const bool pooled = stride_ > 1;
  const View y1 = arena.At(y1_, in.rows()), y2 = arena.At(y2_, in.rows());
  const View d_pre3 = Shaped(arena, scratch.first, small.rows(), channels_out());
  const View d_middle = Shaped(arena, scratch.second, small.rows(), planes_);
  const View middle = pooled ? arena.At(pooled_, small.rows()) : y2;

  conv3_.Backward(ops, arena, middle, small, out, mode, d, d_pre3, d_middle);  // d: the identity's
  const View d_first = Shaped(arena, scratch.first, in.rows(), planes_);
  const View d_second = Shaped(arena, scratch.second, in.rows(), planes_);
  if (pooled) ops.AveragePoolBackward(d_middle, in, d_first);
  const View d_y2 = pooled ? d_first : d_second, d_y1 = pooled ? d_second : d_first;
  conv2_.Backward(ops, arena, y1, in, y2, mode, d_y2, d_y2, d_y1);
  conv1_.Backward(ops, arena, x, in, y1, mode, d_y1, d_y1, d_x);

  if (!downsample_) {
    ops.Add(d, d_x);
    return;
  }
  const View narrow = pooled ? arena.At(pooled_x_, small.rows()) : x;
  const View d_narrow = Shaped(arena, scratch.first, small.rows(), in_);
  downsample_->Backward(ops, arena, narrow, small, {}, mode, d, d, d_narrow);
  if (!pooled) {
    ops.Add(d_narrow, d_x);
    return;
  }
  const View d_wide = Shaped(arena, scratch.second, in.rows(), in_);
  ops.AveragePoolBackward(d_narrow, in, d_wide);
  ops.Add(d_wide, d_x);
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
