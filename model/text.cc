#include "model/text.h"

#include "common/error.h"

namespace contrail::model {
namespace {

TransformerShape Stack(const ModelSpec& spec, bool prune) {
  TransformerShape shape;
  shape.block.width = spec.text.width;
  shape.block.heads = spec.text.heads;
  shape.block.activation = spec.activation == "gelu" ? Activation::kGelu : Activation::kQuickGelu;
  shape.block.causal = true;
  shape.block.pick = OpTable::Pick::kLast;
  shape.layers = spec.text.layers;
  shape.prune_last = prune;
  return shape;
}

}  // namespace

TextTower::TextTower(const ModelSpec& spec, bool prune)
    : spec_(spec.text), transformer_(Stack(spec, prune)), head_(spec.text.width, spec.embed_dim) {}

// Radford et al.'s released model: GPT-2's scheme, with PyTorch's default MLP biases left alone.
void TextTower::Declare(ParamList* list) {
  const auto w = static_cast<double>(spec_.width);
  const double residual = 1.0 / std::sqrt(w * 2.0 * static_cast<double>(spec_.layers));
  list->SetPrefix("");
  first_group_ = list->NextGroup();
  list->Add("positional_embedding", {spec_.context, spec_.width}, Normal(0.01));
  list->Add("token_embedding.weight", {spec_.vocab, spec_.width}, Normal(0.02));
  transformer_.Declare({Normal(1.0 / std::sqrt(w)), Normal(residual),
                        Normal(1.0 / std::sqrt(2.0 * w)), Normal(residual)},
                       list);
  head_group_ = list->NextGroup();
  head_.Declare("ln_final", "text_projection", list);
}

void TextTower::Bind(ParamCursor* cursor) {
  positions_ = cursor->Next();
  embedding_ = cursor->Next();
  transformer_.Bind(cursor);
  head_.Bind(cursor);
}

void TextTower::Plan(int64_t samples, int64_t tokens, const PlanFor& what, ArenaPlan* plan) {
  kept_ = false;
  transformer_.Plan(tokens, samples, what.training, what.recompute.text, plan);
  head_.Plan(samples, plan);
}

void TextTower::PlanScratch(bool training, ArenaPlan* plan) {
  head_.PlanScratch(plan);
  transformer_.PlanScratch(training, plan);
}

Sequences TextTower::Captions(const TextBatch& texts) const {
  Sequences sequences;
  sequences.count = texts.offsets.numel() - 1;
  sequences.offsets = texts.offsets.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < sequences.count; ++i) {
    const int64_t length = sequences.Begin(i + 1) - sequences.Begin(i);
    CONTRAIL_ASSERT(length > 0 && length <= spec_.context);
    sequences.longest = std::max(sequences.longest, length);
  }
  CONTRAIL_ASSERT(sequences.Begin(0) == 0 &&
                  sequences.Begin(sequences.count) == texts.token_ids.numel());
  return sequences;
}

void TextTower::Forward(const OpTable& ops, const Arena& arena, const TextBatch& texts,
                        View features, bool keep) {
  const Sequences captions = Captions(texts);
  const int64_t tokens = texts.token_ids.numel();
  const int32_t* ids = texts.token_ids.const_data_ptr<int32_t>();
  for (int64_t t = 0; t < tokens; ++t) CONTRAIL_ASSERT(ids[t] >= 0 && ids[t] < spec_.vocab);
  if (needed_) needed_(first_group_);
  ops.Embed(ids, captions, embedding_.weight, positions_.weight, transformer_.Input(arena, tokens));
  const View picked = transformer_.Forward(ops, arena, captions, tokens, keep);
  if (needed_) needed_(head_group_);
  head_.Forward(ops, arena, picked, features);
  kept_ = keep;
  texts_ = keep ? texts : TextBatch{};
}

void TextTower::SetGroupNeeded(const GroupNeeded& needed) {
  needed_ = needed;
  transformer_.SetLayerNeeded([this](int layer) {
    if (needed_) needed_(first_group_ + 1 + layer);
  });
}

void TextTower::Backward(const OpTable& ops, const Arena& arena, View d_features,
                         const GroupDone& done) {
  CONTRAIL_ASSERT(kept_ && d_features.rows == texts_.offsets.numel() - 1);
  const Sequences captions = Captions(texts_);
  const int64_t tokens = texts_.token_ids.numel();
  head_.Backward(ops, arena, transformer_.Output(arena, captions.count), d_features,
                 transformer_.OutputGradient(arena, captions.count));
  done(head_group_);
  transformer_.Backward(ops, arena, captions, tokens,
                        [&](int layer) { done(first_group_ + 1 + layer); });
  ops.EmbedBackward(texts_.token_ids.const_data_ptr<int32_t>(), captions,
                    transformer_.InputGradient(arena, tokens), embedding_.grad, positions_.grad);
  done(first_group_);
}

}  // namespace contrail::model
