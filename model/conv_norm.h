#pragma once
// A convolution without bias and the batch norm behind it. Only the convolution's output is kept:
// whoever reads norm and ReLU forms them on the way.
//
// Legend: M positions in, N positions out, C channels in, K channels out.

#include "model/live_plan.h"
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
  // At most `groups` groups, `rows` positions out in all. `pre`: when the convolution's output is
  // there; `state`: when the norm's is.
  void Plan(int64_t groups, int64_t rows, const Lives& pre, const Lives& state, LivePlan* plan);

  // in [M, C].
  void Forward(const OpTable& ops, const Arena& arena, const ConvInput& in, const NormMode& mode);
  // The convolution's output once more, bit for bit; the norm's state is still there.
  void FormAgain(const OpTable& ops, const Arena& arena, const ConvInput& in, int64_t groups) const;
  // The norm of the last forward's output.
  BatchNorm Norm(const Arena& arena, const ImageShape& in, int64_t groups) const;
  // d [N, K]: what the norm's output has for a gradient (BatchNormThrough did its sums); d_pre,
  // which may be d: the convolution's. The weight's and the norm's gradients +=.
  void BackwardWeight(const OpTable& ops, const Arena& arena, const ConvInput& in, int64_t groups,
                      View d, View d_pre) const;
  // d_x [M, C] = or += where `add`; then through a norm, where there is one.
  void BackwardInput(const OpTable& ops, const ImageShape& in, View d_pre, bool add, View d_x,
                     const Through* through) const;
  void FoldStatistics(const OpTable& ops);
  void DropStatistics();

 private:
  ImageShape Out(const ImageShape& in) const;

  ConvShape shape_;
  ParamCursor::Pair weight_, gain_, bias_;
  View running_mean_, running_variance_;
  at::Tensor sums_;        // [2, K] statistics since the last fold
  int64_t collected_ = 0;  // groups in them
  Slot pre_, state_;       // [N, K], [8 groups, K]
};

}  // namespace contrail::model
