#pragma once
// The end of CLIP's ResNets: attention whose one query is the mean of all positions, folded:
//
//   t = [mean x; x] + positions       q = W_q t_0 + b_q        u_h = W_k,h^T q_h
//   a_h = softmax(u_h t / sqrt(d))    o_h = W_v,h (a_h t) + b_v,h
//   features = normalise(W_c o + b_c)
//
// W_k and W_v meet one vector a head instead of every position, and b_k cancels in the softmax (its
// gradient is 0): exact, forward and backward.
//
// Legend: b samples, P positions an image, L = P + 1, C channels, h heads of d = C / h, D
// embed_dim.

#include "model/arena.h"
#include "model/ops/op_table.h"
#include "model/param_list.h"

namespace contrail::model {

class AttentionPool {
 public:
  AttentionPool(int64_t positions, int64_t channels, int64_t heads, int64_t embed_dim);

  // "attnpool.positional_embedding", k_proj, q_proj, v_proj, c_proj: open_clip's order.
  void Declare(ParamList* list) const;
  void Bind(ParamCursor* cursor);
  void Plan(int64_t samples, ArenaPlan* plan);
  void PlanScratch(bool training, ArenaPlan* plan);

  // x [b P, C]; features [b, D].
  void Forward(const OpTable& ops, const Arena& arena, View x, View features) const;
  // d_x [b P, C] =.
  void Backward(const OpTable& ops, const Arena& arena, View d_features, View d_x) const;

 private:
  Sequences Tokens(int64_t count) const { return {count, nullptr, length_, length_}; }

  int64_t length_, channels_, heads_, embed_dim_, size_;  // size_: d
  double scale_;
  ParamCursor::Pair positions_, k_weight_, k_bias_, q_weight_, q_bias_, v_weight_, v_bias_;
  ParamCursor::Pair c_weight_, c_bias_;
  int64_t samples_ = 0;
  Slot tokens_, mean_, q_;         // [b L, C], [b, C], [b, C]
  Slot u_, weights_, mixed_, o_;   // [b, h C], [b, h L], [b, h C], [b, C]
  Slot unit_, norms_;              // [b, D], [b, 1]
  Slot projected_, d_rows_, d_q_;  // scratch [b, D], [b, C], [b, C]
  Slot d_mixed_, d_u_, d_tokens_;  // scratch [b, h C], [b, h C], [b L, C]
};

}  // namespace contrail::model
