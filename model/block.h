#pragma once
// The pre-LN transformer block (Radford et al. 2021; Vaswani et al. 2017):
//
//   mid = x   + out_proj(attention(in_proj(ln_1(x))))
//   out = mid + c_proj(f(c_fc(ln_2(mid))))
//
// A pruned block is a tower's last: of its output only one row a sequence is read (the class token
// or EOT), so keys and values are formed for all tokens, and everything else for those rows alone.
// Exact, forward and backward.
//
// Where the model computes in 16 bits, the residual stream (x, mid, out, their gradients) and the
// statistics stay fp32; what lies between two products is 16-bit.
//
// Legend: T tokens, b sequences, w width; Q rows of queries: T, or b where pruned.

#include "model/arena.h"
#include "model/ops/op_table.h"
#include "model/param_list.h"

namespace contrail::model {

struct BlockShape {
  int64_t width = 0;
  int64_t heads = 0;
  Activation activation = Activation::kQuickGelu;
  bool causal = false;
  bool pruned = false;
  OpTable::Pick pick = OpTable::Pick::kFirst;  // the row that a pruned block keeps
};

// What a backward needs of a forward; it forms the layer norms' outputs and the activation again
// (a percent of the time for a third of the memory). A forward that is not kept may use any
// block's.
struct BlockSlots {
  Slot stats1;            // [T, 2]
  Slot qkv;               // [T, 3w]; pruned: [T, 2w] of keys and values
  Slot ln1_rows, x_rows;  // pruned only: [b, w] the picked rows of ln_1's output and of x
  Slot q;                 // pruned only: [b, w]
  Slot lse, attended;     // [Q, h], [Q, w]
  Slot mid, stats2;       // [Q, w], [Q, 2]
  Slot pre;               // [Q, 4w]
};

// What a forward and a backward write on their way; all blocks share one.
struct BlockScratch {
  Slot branch;  // [T, w]
  Slot wide;    // [T, 4w]
  Slot d_rows;  // [b, w]
};

class Block {
 public:
  explicit Block(const BlockShape& shape) : shape_(shape) {}

  // Twelve parameters "N.ln_1.weight" ... in the order of open_clip's state dict.
  struct Inits {
    Init in_proj, out_proj, c_fc, c_proj;  // weights
  };
  static void Declare(const std::string& name, int64_t width, const Inits& inits, ParamList* list);
  void Bind(ParamCursor* cursor);

  static BlockSlots PlanSlots(const BlockShape& shape, int64_t tokens, int64_t samples,
                              ArenaPlan* plan);
  static BlockScratch PlanScratch(int64_t width, int64_t tokens, int64_t samples, ArenaPlan* plan);

  // x: [T, w]; out: [Q, w], which may be x itself when nothing is kept for a backward.
  void Forward(const OpTable& ops, const Arena& arena, const BlockSlots& slots,
               const BlockScratch& scratch, const Sequences& sequences, View x, View out) const;
  // d: [Q, w] the gradient of out, used up; d_x: [T, w], may be the same memory if not pruned.
  void Backward(const OpTable& ops, const Arena& arena, const BlockSlots& slots,
                const BlockScratch& scratch, const Sequences& sequences, View x, View d,
                View d_x) const;

 private:
  struct Params {
    ParamCursor::Pair ln1_gain, ln1_bias, in_weight, in_bias, out_weight, out_bias;
    ParamCursor::Pair ln2_gain, ln2_bias, fc_weight, fc_bias, proj_weight, proj_bias;
  };

  AttentionShape Attention(const Sequences& sequences) const;
  void BackwardAttention(const OpTable& ops, const Arena& arena, const BlockSlots& slots,
                         const BlockScratch& scratch, const Sequences& sequences, View x, View d,
                         View d_x) const;
  void BackwardPrunedAttention(const OpTable& ops, const Arena& arena, const BlockSlots& slots,
                               const BlockScratch& scratch, const Sequences& sequences, View x,
                               View d, View d_x) const;

  BlockShape shape_;
  Params params_;
};

}  // namespace contrail::model
