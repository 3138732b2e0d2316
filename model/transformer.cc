#include "model/transformer.h"

namespace contrail::model {

Transformer::Transformer(const TransformerShape& shape) : shape_(shape) {
  for (int64_t layer = 0; layer < shape.layers; ++layer) blocks_.emplace_back(ShapeOf(layer));
}

BlockShape Transformer::ShapeOf(int64_t layer) const {
  BlockShape block = shape_.block;
  block.pruned = pruned(layer);
  return block;
}

void Transformer::Declare(const Block::Inits& inits, ParamList* list) const {
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    list->NextGroup();
    Block::Declare("transformer.resblocks." + std::to_string(layer), shape_.block.width, inits,
                   list);
  }
}

void Transformer::Bind(ParamCursor* cursor) {
  for (Block& block : blocks_) block.Bind(cursor);
}

void Transformer::Plan(int64_t tokens, int64_t samples, bool training, bool recompute,
                       ArenaPlan* plan) {
  recompute_ = training && recompute;
  tokens_ = tokens;
  samples_ = samples;
  inputs_.clear();
  slots_.clear();
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    const bool own = training || layer == 0;
    inputs_.push_back(own ? plan->AddWide(tokens, shape_.block.width) : inputs_[0]);
    // A pruned block's slots are laid out differently, so it never shares.
    const bool shares = (recompute_ || !training) && layer > 0 && !pruned(layer);
    slots_.push_back(shares ? slots_[0] : Block::PlanSlots(ShapeOf(layer), tokens, samples, plan));
  }
  if (!shape_.prune_last) whole_out_ = plan->AddWide(tokens, shape_.block.width);
  out_ = plan->AddWide(samples, shape_.block.width);
}

void Transformer::PlanScratch(bool training, ArenaPlan* plan) {
  scratch_ = Block::PlanScratch(shape_.block.width, tokens_, samples_, plan);
  if (!training) return;
  d_out_ = plan->AddWide(samples_, shape_.block.width);
  d_x_ = plan->AddWide(tokens_, shape_.block.width);
}

View Transformer::Forward(const OpTable& ops, const Arena& arena, const Sequences& sequences,
                          int64_t tokens, bool keep) const {
  const View out = arena.At(out_, sequences.count);
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    if (needed_) needed_(static_cast<int>(layer));
    const size_t mine = static_cast<size_t>(layer), place = keep || pruned(layer) ? mine : 0;
    const bool last = layer + 1 == shape_.layers;
    const View x = arena.At(inputs_[keep ? mine : 0], tokens);
    const View next = !last           ? arena.At(inputs_[keep ? mine + 1 : 0], tokens)
                      : pruned(layer) ? out
                                      : arena.At(whole_out_, tokens);
    blocks_[mine].Forward(ops, arena, slots_[place], scratch_, sequences, x, next);
  }
  if (!shape_.prune_last) {
    ops.GatherRows(arena.At(whole_out_, tokens), sequences, shape_.block.pick, out);
  }
  return out;
}

void Transformer::Backward(const OpTable& ops, const Arena& arena, const Sequences& sequences,
                           int64_t tokens, const std::function<void(int layer)>& done) const {
  const View d_out = OutputGradient(arena, sequences.count);
  const View d_x = InputGradient(arena, tokens);
  if (!shape_.prune_last) {
    ops.Zero(d_x);
    ops.ScatterAddRows(d_out, sequences, shape_.block.pick, d_x);
  }
  for (int64_t layer = shape_.layers - 1; layer >= 0; --layer) {
    const size_t mine = static_cast<size_t>(layer);
    if (recompute_ && layer + 1 < shape_.layers) {  // the last one's activations are still there
      blocks_[mine].Forward(ops, arena, slots_[mine], scratch_, sequences,
                            arena.At(inputs_[mine], tokens), arena.At(inputs_[mine + 1], tokens));
    }
    blocks_[mine].Backward(ops, arena, slots_[mine], scratch_, sequences,
                           arena.At(inputs_[mine], tokens), pruned(layer) ? d_out : d_x, d_x);
    done(static_cast<int>(layer));
  }
}

}  // namespace contrail::model
