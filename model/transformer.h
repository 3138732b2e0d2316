#pragma once
// A stack of pre-LN blocks whose last is pruned: [T, w] tokens in, [b, w] picked rows out.

#include <functional>

#include "model/block.h"

namespace contrail::model {

struct TransformerShape {
  BlockShape block;  // `pruned` is the stack's to set
  int64_t layers = 0;
  bool prune_last = true;  // false runs the last block whole and picks afterwards: for proofs
};

class Transformer {
 public:
  explicit Transformer(const TransformerShape& shape);

  // "transformer.resblocks.N...."; one group a block.
  void Declare(const Block::Inits& inits, ParamList* list) const;
  void Bind(ParamCursor* cursor);

  // What stays between a kept forward and its backward (where `recompute`, blocks' inputs and the
  // last block's), then what one pass needs meanwhile.
  void Plan(int64_t tokens, int64_t samples, bool training, bool recompute, ArenaPlan* plan);
  void PlanScratch(bool training, ArenaPlan* plan);

  // Where the tokens enter: the caller fills it before Forward.
  View Input(const Arena& arena, int64_t tokens) const { return arena.At(inputs_[0], tokens); }
  // Leaves the picked rows in the returned view, which is Output()'s.
  View Forward(const OpTable& ops, const Arena& arena, const Sequences& sequences, int64_t tokens,
               bool keep) const;

  // Called with the layer before its weights are read.
  void SetLayerNeeded(std::function<void(int layer)> needed) { needed_ = std::move(needed); }

  View Output(const Arena& arena, int64_t samples) const { return arena.At(out_, samples); }

  // Where the gradient of the picked rows enters, and where that of the tokens leaves.
  View OutputGradient(const Arena& arena, int64_t samples) const {
    return arena.At(d_out_, samples);
  }
  View InputGradient(const Arena& arena, int64_t tokens) const { return arena.At(d_x_, tokens); }
  // Calls done(layer) as each block's gradients are complete, last first.
  void Backward(const OpTable& ops, const Arena& arena, const Sequences& sequences, int64_t tokens,
                const std::function<void(int layer)>& done) const;

 private:
  bool pruned(int64_t layer) const { return shape_.prune_last && layer + 1 == shape_.layers; }
  BlockShape ShapeOf(int64_t layer) const;

  TransformerShape shape_;
  std::vector<Block> blocks_;
  std::function<void(int layer)> needed_;
  int64_t tokens_ = 0, samples_ = 0;
  bool recompute_ = false;
  std::vector<Slot> inputs_;       // x of each block; one for all if not training
  std::vector<BlockSlots> slots_;  // likewise, or of all but a pruned last block
  Slot whole_out_, out_;           // [T, w] only where nothing is pruned; [b, w]
  Slot d_out_, d_x_;               // [b, w], [T, w]
  BlockScratch scratch_;
};

}  // namespace contrail::model
