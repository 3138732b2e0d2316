#include "model/head.h"

namespace contrail::model {

void Head::Declare(const std::string& norm, const std::string& projection, ParamList* list) const {
  list->AddNorm(norm, width_);
  list->Add(projection, {width_, embed_dim_}, Normal(1.0 / std::sqrt(static_cast<double>(width_))));
}

void Head::Bind(ParamCursor* cursor) {
  gain_ = cursor->Next();
  bias_ = cursor->Next();
  projection_ = cursor->Next();
}

void Head::Plan(int64_t samples, ArenaPlan* plan) {
  samples_ = samples;
  stats_ = plan->AddWide(samples, 2);
  normed_ = plan->Add(samples, width_);
  unit_ = plan->AddWide(samples, embed_dim_);
  norms_ = plan->AddWide(samples, 1);
}

void Head::PlanScratch(ArenaPlan* plan) {
  projected_ = plan->AddWide(samples_, embed_dim_);
  d_normed_ = plan->Add(samples_, width_);
}

void Head::Forward(const OpTable& ops, const Arena& arena, View x, View features) const {
  const View normed = arena.At(normed_, x.rows);
  const View projected = arena.At(projected_, x.rows);
  const View unit = arena.At(unit_, x.rows);
  ops.LayerNorm(x, gain_.weight, bias_.weight, normed, arena.At(stats_, x.rows));
  ops.Project(normed, projection_.weight, projected);
  ops.Normalize(projected, unit, arena.At(norms_, x.rows));
  ops.Copy(unit, features);
}

void Head::Backward(const OpTable& ops, const Arena& arena, View x, View d_features,
                    View d_x) const {
  const View d_projected = arena.At(projected_, x.rows);
  const View d_normed = arena.At(d_normed_, x.rows);
  ops.NormalizeBackward(arena.At(unit_, x.rows), arena.At(norms_, x.rows), d_features, d_projected);
  ops.ProjectBackward(arena.At(normed_, x.rows), projection_.weight, d_projected, d_normed,
                      projection_.grad);
  ops.LayerNormBackward(x, arena.At(stats_, x.rows), gain_.weight, d_normed, /*add=*/false, d_x,
                        gain_.grad, bias_.grad);
}

}  // namespace contrail::model
