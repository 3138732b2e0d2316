#pragma once
// The end of both towers: features = normalise(layer_norm(x) proj).
//
// Legend: b samples, w width, D embed_dim.

#include "model/arena.h"
#include "model/ops/op_table.h"
#include "model/param_list.h"

namespace contrail::model {

class Head {
 public:
  Head(int64_t width, int64_t embed_dim) : width_(width), embed_dim_(embed_dim) {}

  void Declare(const std::string& norm, const std::string& projection, ParamList* list) const;
  void Bind(ParamCursor* cursor);
  void Plan(int64_t samples, ArenaPlan* plan);
  void PlanScratch(ArenaPlan* plan);

  // x [b, w] must stay as it is until the backward.
  void Forward(const OpTable& ops, const Arena& arena, View x, View features) const;
  void Backward(const OpTable& ops, const Arena& arena, View x, View d_features, View d_x) const;

 private:
  int64_t width_, embed_dim_;
  ParamCursor::Pair gain_, bias_, projection_;
  int64_t samples_ = 0;
  Slot stats_, normed_, unit_, norms_;  // [b, 2], [b, w], [b, D], [b, 1]
  Slot projected_, d_normed_;           // scratch [b, D], [b, w]
};

}  // namespace contrail::model
