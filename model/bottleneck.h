#pragma once
// The bottleneck of CLIP's ResNets (He et al. 2016; ResNet-D's and "rect-2" pooling):
//
//   out = relu(bn3(conv3(pool(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + identity)
//   identity = x, or bn(conv(pool(x))) where the shape changes
//
// pool is there where the stride is 2: no convolution here has one of its own.
//
// Legend: M positions in, N out (M or M / 4), C channels in, p planes.

#include <optional>

#include "model/conv_norm.h"

namespace contrail::model {

// What a backward writes on its way, shaped as needed.
struct ResnetScratch {
  Slot first, second;
};

// When a block's activations are there. conv3's output and the downsample's, which are wide, may be
// formed again for the backward instead of kept.
struct BottleneckLives {
  Lives narrow;
  Lives last;      // conv3's output
  Lives identity;  // the downsample's
  Lives state;     // of all norms
  Lives backward;  // while its own runs; none if it never does
};
View Shaped(const Arena& arena, const Slot& slot, int64_t rows, int64_t cols);

class Bottleneck {
 public:
  static constexpr int64_t kExpansion = 4;
  Bottleneck(int64_t in, int64_t planes, int64_t stride);

  // "layer1.0": conv1 bn1 conv2 bn2 conv3 bn3 downsample.0 downsample.1, open_clip's order.
  void Declare(const std::string& name, ParamList* list) const;
  void AddBuffers(const std::string& name, std::vector<BufferSpec>* buffers) const;
  void Bind(ParamCursor* cursor);
  void BindBuffers(const std::vector<at::Tensor>& buffers, size_t* next);
  void Plan(const ImageShape& in, int64_t groups, const BottleneckLives& lives, LivePlan* plan);

  ImageShape Out(const ImageShape& in) const { return stride_ == 1 ? in : in.Halved(); }
  int64_t channels_in() const { return in_; }
  int64_t channels_out() const { return planes_ * kExpansion; }

  // Whether the gradients of x and of out have different shapes.
  bool reshapes() const { return downsample_.has_value(); }

  // x [M, C], out [N, 4p].
  void Forward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in,
               const NormMode& mode, View out);
  // What the forward wrote but could not keep: conv3's output, before whoever reads LastNorm, and
  // the downsample's, before Backward.
  void FormLastAgain(const OpTable& ops, const Arena& arena, const ImageShape& in,
                     int64_t groups) const;
  void FormIdentityAgain(const OpTable& ops, const Arena& arena, View x, const ImageShape& in,
                         int64_t groups) const;
  // The norm that ends it, for whoever forms the gradient of out.
  BatchNorm LastNorm(const Arena& arena, const ImageShape& in, int64_t groups) const;
  // d [N, 4p]: the gradient of out, through its ReLU and LastNorm; used up. d_x [M, C] =, d's
  // memory where the block does not reshape; then through `before`, where given.
  void Backward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in,
                int64_t groups, View d, View d_x, const Through* before) const;
  void FoldStatistics(const OpTable& ops);
  void DropStatistics();

 private:
  // What conv3 and the downsample read.
  ConvInput Middle(const Arena& arena, const BatchNorm& norm2) const;
  ConvInput Narrow(const Arena& arena, View x, const ImageShape& in) const;

  int64_t in_, planes_, stride_;
  ConvNorm conv1_, conv2_, conv3_;
  std::optional<ConvNorm> downsample_;
  Slot pooled_, pooled_x_;  // [N, p], [N, C], where the stride is 2
  ResnetScratch scratch_;
};

}  // namespace contrail::model
