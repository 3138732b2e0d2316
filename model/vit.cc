#include "model/vit.h"

#include "common/error.h"

namespace contrail::model {
namespace {

TransformerShape Stack(const ModelSpec& spec, bool prune) {
  TransformerShape shape;
  shape.block.width = spec.vit.width;
  shape.block.heads = spec.vit.heads;
  shape.block.activation = spec.activation == "gelu" ? Activation::kGelu : Activation::kQuickGelu;
  shape.block.pick = OpTable::Pick::kFirst;
  shape.layers = spec.vit.layers;
  shape.prune_last = prune;
  return shape;
}

}  // namespace

VitTower::VitTower(const ModelSpec& spec, bool prune)
    : resolution_(spec.resolution),
      patch_(spec.vit.patch),
      pixels_are_(NormalisationNamed(spec.mean_std)),
      patches_((spec.resolution / spec.vit.patch) * (spec.resolution / spec.vit.patch)),
      length_(patches_ + 1),
      width_(spec.vit.width),
      transformer_(Stack(spec, prune)),
      head_(spec.vit.width, spec.embed_dim) {}

// OpenAI never defined an initialisation of the vision blocks: they have PyTorch's defaults
// (Xavier-uniform in_proj, Kaiming-uniform with a = sqrt 5 elsewhere: half width fan_in^-1/2).
void VitTower::Declare(ParamList* list) {
  const auto w = static_cast<double>(width_);
  const auto fan_in = [](double n) { return Uniform(1.0 / std::sqrt(n)); };
  const Init scaled = Normal(1.0 / std::sqrt(w));
  list->SetPrefix("visual.");
  first_group_ = list->NextGroup();
  list->Add("class_embedding", {width_}, scaled);
  list->Add("positional_embedding", {length_, width_}, scaled);
  list->Add("conv1.weight", {width_, 3, patch_, patch_},
            fan_in(static_cast<double>(3 * patch_ * patch_)));
  list->AddNorm("ln_pre", width_);
  const Init xavier = Uniform(std::sqrt(6.0 / (w + 3 * w)));
  transformer_.Declare({xavier, fan_in(w), fan_in(w), fan_in(4 * w)}, list);
  head_group_ = list->NextGroup();
  head_.Declare("ln_post", "proj", list);
}

void VitTower::Bind(ParamCursor* cursor) {
  for (ParamCursor::Pair* pair : {&class_, &positions_, &conv_, &pre_gain_, &pre_bias_}) {
    *pair = cursor->Next();
  }
  transformer_.Bind(cursor);
  head_.Bind(cursor);
}

void VitTower::Plan(int64_t samples, const PlanFor& what, ArenaPlan* plan) {
  samples_ = samples;
  kept_ = 0;
  pixels_ = plan->Add(samples * patches_, 3 * patch_ * patch_);
  tokens_ = plan->AddWide(tokens(samples), width_);
  pre_stats_ = plan->AddWide(tokens(samples), 2);
  transformer_.Plan(tokens(samples), samples, what.training, what.recompute.vit, plan);
  head_.Plan(samples, plan);
}

void VitTower::PlanScratch(bool training, ArenaPlan* plan) {
  projected_ = plan->Add(samples_ * patches_, width_);
  head_.PlanScratch(plan);
  transformer_.PlanScratch(training, plan);
}

void VitTower::Forward(const OpTable& ops, const Arena& arena, const uint8_t* images, int64_t count,
                       View features, bool keep) {
  const View pixels = arena.At(pixels_, count * patches_);
  const View projected = arena.At(projected_, count * patches_);
  const View embedded = arena.At(tokens_, tokens(count));
  const View x = transformer_.Input(arena, tokens(count));
  ops.Patchify(images, count, resolution_, patch_, pixels_are_, pixels);
  if (needed_) needed_(first_group_);
  ops.Linear(pixels, conv_.weight, {}, {}, projected);
  ops.AssembleTokens(projected, class_.weight, positions_.weight, embedded);
  ops.LayerNorm(embedded, pre_gain_.weight, pre_bias_.weight, x,
                arena.At(pre_stats_, tokens(count)));
  const View picked = transformer_.Forward(ops, arena, Images(count), tokens(count), keep);
  if (needed_) needed_(head_group_);
  head_.Forward(ops, arena, picked, features);
  kept_ = keep ? count : 0;
}

void VitTower::SetGroupNeeded(const GroupNeeded& needed) {
  needed_ = needed;
  transformer_.SetLayerNeeded([this](int layer) {
    if (needed_) needed_(first_group_ + 1 + layer);
  });
}

void VitTower::Backward(const OpTable& ops, const Arena& arena, View d_features,
                        const GroupDone& done) {
  const int64_t count = kept_;
  CONTRAIL_ASSERT(count > 0 && d_features.rows == count);
  head_.Backward(ops, arena, transformer_.Output(arena, count), d_features,
                 transformer_.OutputGradient(arena, count));
  done(head_group_);
  transformer_.Backward(ops, arena, Images(count), tokens(count),
                        [&](int layer) { done(first_group_ + 1 + layer); });
  const View d_x = transformer_.InputGradient(arena, tokens(count));
  const View d_projected = arena.At(projected_, count * patches_);
  ops.LayerNormBackward(arena.At(tokens_, tokens(count)), arena.At(pre_stats_, tokens(count)),
                        pre_gain_.weight, d_x, /*add=*/false, d_x, pre_gain_.grad, pre_bias_.grad);
  ops.AssembleTokensBackward(d_x, d_projected, class_.grad, positions_.grad);
  ops.LinearBackwardWeight(arena.At(pixels_, count * patches_), d_projected, conv_.grad, {});
  done(first_group_);
}

}  // namespace contrail::model
