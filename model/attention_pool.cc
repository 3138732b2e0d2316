#include "model/attention_pool.h"

namespace contrail::model {

AttentionPool::AttentionPool(int64_t positions, int64_t channels, int64_t heads, int64_t embed_dim)
    : length_(positions + 1),
      channels_(channels),
      heads_(heads),
      embed_dim_(embed_dim),
      size_(channels / heads),
      scale_(1.0 / std::sqrt(static_cast<double>(size_))) {}

void AttentionPool::Declare(ParamList* list) const {
  const double deviation = 1.0 / std::sqrt(static_cast<double>(channels_));
  list->Add("attnpool.positional_embedding", {length_, channels_}, Normal(deviation));
  for (const char* name : {"k_proj", "q_proj", "v_proj", "c_proj"}) {
    const int64_t out = name[0] == 'c' ? embed_dim_ : channels_;
    list->Add(std::string("attnpool.") + name + ".weight", {out, channels_}, Normal(deviation));
    list->Add(std::string("attnpool.") + name + ".bias", {out}, Uniform(deviation));
  }
}

void AttentionPool::Bind(ParamCursor* cursor) {
  for (ParamCursor::Pair* pair : {&positions_, &k_weight_, &k_bias_, &q_weight_, &q_bias_,
                                  &v_weight_, &v_bias_, &c_weight_, &c_bias_}) {
    *pair = cursor->Next();
  }
}

void AttentionPool::Plan(int64_t samples, ArenaPlan* plan) {
  samples_ = samples;
  tokens_ = plan->Add(samples * length_, channels_);
  mean_ = plan->Add(samples, channels_);
  q_ = plan->Add(samples, channels_);
  u_ = plan->Add(samples, heads_ * channels_);
  weights_ = plan->AddWide(samples, heads_ * length_);
  mixed_ = plan->Add(samples, heads_ * channels_);
  o_ = plan->Add(samples, channels_);
  unit_ = plan->AddWide(samples, embed_dim_);
  norms_ = plan->AddWide(samples, 1);
}

void AttentionPool::PlanScratch(bool training, ArenaPlan* plan) {
  projected_ = plan->AddWide(samples_, embed_dim_);
  if (!training) return;
  d_rows_ = plan->Add(samples_, channels_);
  d_q_ = plan->Add(samples_, channels_);
  d_mixed_ = plan->Add(samples_, heads_ * channels_);
  d_u_ = plan->Add(samples_, heads_ * channels_);
  d_tokens_ = plan->AddWide(samples_ * length_, channels_);
}

void AttentionPool::Forward(const OpTable& ops, const Arena& arena, View x, View features) const {
  const int64_t b = features.rows, d = size_;
  const View tokens = arena.At(tokens_, b * length_), mean = arena.At(mean_, b);
  const View q = arena.At(q_, b), u = arena.At(u_, b), mixed = arena.At(mixed_, b);
  const View o = arena.At(o_, b), projected = arena.At(projected_, b), unit = arena.At(unit_, b);
  ops.PoolTokens(x, b, positions_.weight, tokens);
  ops.GatherRows(tokens, Tokens(b), OpTable::Pick::kFirst, mean);
  ops.Linear(mean, q_weight_.weight, q_bias_.weight, {}, q);
  for (int64_t h = 0; h < heads_; ++h) {
    ops.LinearBackwardInput(q.Cols(h * d, d), k_weight_.weight.Rows(h * d, d),
                            u.Cols(h * channels_, channels_));
  }
  ops.FoldedAttention(tokens, u, heads_, scale_, arena.At(weights_, b), mixed);
  for (int64_t h = 0; h < heads_; ++h) {
    ops.Linear(mixed.Cols(h * channels_, channels_), v_weight_.weight.Rows(h * d, d),
               v_bias_.weight.Cols(h * d, d), {}, o.Cols(h * d, d));
  }
  ops.Linear(o, c_weight_.weight, c_bias_.weight, {}, projected);
  ops.Normalize(projected, unit, arena.At(norms_, b));
  ops.Copy(unit, features);
}

void AttentionPool::Backward(const OpTable& ops, const Arena& arena, View d_features,
                             View d_x) const {
  const int64_t b = d_features.rows, d = size_;
  const View q = arena.At(q_, b), u = arena.At(u_, b), mixed = arena.At(mixed_, b);
  const View d_projected = arena.At(projected_, b), d_rows = arena.At(d_rows_, b);
  const View d_mixed = arena.At(d_mixed_, b), d_u = arena.At(d_u_, b), d_q = arena.At(d_q_, b);
  const View tokens = arena.At(tokens_, b * length_), d_tokens = arena.At(d_tokens_, b * length_);
  ops.NormalizeBackward(arena.At(unit_, b), arena.At(norms_, b), d_features, d_projected);
  ops.LinearBackwardWeight(arena.At(o_, b), d_projected, c_weight_.grad, c_bias_.grad);
  ops.LinearBackwardInput(d_projected, c_weight_.weight, d_rows);
  for (int64_t h = 0; h < heads_; ++h) {
    const View d_o = d_rows.Cols(h * d, d);
    ops.LinearBackwardWeight(mixed.Cols(h * channels_, channels_), d_o,
                             v_weight_.grad.Rows(h * d, d), v_bias_.grad.Cols(h * d, d));
    ops.LinearBackwardInput(d_o, v_weight_.weight.Rows(h * d, d),
                            d_mixed.Cols(h * channels_, channels_));
  }
  ops.FoldedAttentionBackward(tokens, u, heads_, scale_, arena.At(weights_, b), d_mixed, d_tokens,
                              d_u);
  for (int64_t h = 0; h < heads_; ++h) {
    const View d_u_h = d_u.Cols(h * channels_, channels_);
    ops.LinearBackwardWeight(d_u_h, q.Cols(h * d, d), k_weight_.grad.Rows(h * d, d), {});
    ops.Linear(d_u_h, k_weight_.weight.Rows(h * d, d), {}, {}, d_q.Cols(h * d, d));
  }
  ops.LinearBackwardWeight(arena.At(mean_, b), d_q, q_weight_.grad, q_bias_.grad);
  ops.LinearBackwardInput(d_q, q_weight_.weight, d_rows);
  ops.ScatterAddRows(d_rows, Tokens(b), OpTable::Pick::kFirst, d_tokens);
  ops.PoolTokensBackward(d_tokens, b, d_x, positions_.grad);
}

}  // namespace contrail::model
