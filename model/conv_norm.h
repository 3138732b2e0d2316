#pragma once
// A convolution without bias and the batch norm behind it, with what may follow in the same pass:
//
//   out = f(batch_norm(conv(x)) + residual)
//
// Legend: M positions in, N positions out, C channels in, K channels out.

#include "model/arena.h"
#include "model/ops/op_table.h"
#include "model/param_list.h"

namespace contrail::model {

// Which statistics norms use in a forward, and whether it counts towards the running ones.
struct NormMode {
  bool running = false;
  bool collect = false;
  int64_t groups = 1;
};

struct ConvShape {
  int64_t in = 0;
  int64_t out = 0;
  int64_t kernel = 1;  // 1 or 3, "same" border
  int64_t stride = 1;  // 3 x 3 only
  bool relu = true;
};

class ConvNorm {
 public:
  explicit ConvNorm(const ConvShape& shape) : shape_(shape) {}

  // conv + ".weight"; norm + ".weight", ".bias"; buffers norm + ".running_mean", ".running_var".
  void Declare(const std::string& conv, const std::string& norm, Init gain, ParamList* list) const;
  void AddBuffers(const std::string& norm, std::vector<BufferSpec>* buffers) const;
  void Bind(ParamCursor* cursor);
  // Takes its two of `buffers` from *next on.
  void BindBuffers(const std::vector<at::Tensor>& buffers, size_t* next);
  // `samples` at most, `rows` positions out in all. Without training nothing is kept.
  void Plan(int64_t samples, int64_t rows, bool training, ArenaPlan* plan);

  // x [M, C]; residual [N, K] or empty; out [N, K].
  void Forward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in, View residual,
               const NormMode& mode, View out);
  // d [N, K]: the gradient of out; then, where d_pre is other memory, that of the residual.
  // d_pre [N, K]: the convolution's, may be d. d_x [M, C] =, may be empty.
  void Backward(const OpTable& ops, const Arena& arena, View x, const ImageShape& in, View out,
                const NormMode& mode, View d, View d_pre, View d_x) const;
  void FoldStatistics(const OpTable& ops);
  void DropStatistics();

 private:
  ConvShape shape_;
  ParamCursor::Pair weight_, gain_, bias_;
  View running_mean_, running_variance_;
  at::Tensor sums_;        // [2, K] statistics since the last fold
  int64_t collected_ = 0;  // groups in them
  bool training_ = false;
  Slot pre_, stats_;  // [N, K], [3 groups, K]
};

}  // namespace contrail::model
