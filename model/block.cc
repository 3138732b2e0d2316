#include "model/block.h"

#include "common/error.h"

namespace contrail::model {

void Block::Declare(const std::string& name, int64_t width, const Inits& inits, ParamList* list) {
  const auto fan_in = [](int64_t n) { return Uniform(1.0 / std::sqrt(static_cast<double>(n))); };
  const Init zeros{Init::Kind::kZeros};
  list->AddNorm(name + ".ln_1", width);
  list->Add(name + ".attn.in_proj_weight", {3 * width, width}, inits.in_proj);
  list->Add(name + ".attn.in_proj_bias", {3 * width}, zeros);
  list->Add(name + ".attn.out_proj.weight", {width, width}, inits.out_proj);
  list->Add(name + ".attn.out_proj.bias", {width}, zeros);
  list->AddNorm(name + ".ln_2", width);
  list->Add(name + ".mlp.c_fc.weight", {4 * width, width}, inits.c_fc);
  list->Add(name + ".mlp.c_fc.bias", {4 * width}, fan_in(width));
  list->Add(name + ".mlp.c_proj.weight", {width, 4 * width}, inits.c_proj);
  list->Add(name + ".mlp.c_proj.bias", {width}, fan_in(4 * width));
}

void Block::Bind(ParamCursor* cursor) {
  Params& p = params_;
  for (ParamCursor::Pair* pair :
       {&p.ln1_gain, &p.ln1_bias, &p.in_weight, &p.in_bias, &p.out_weight, &p.out_bias, &p.ln2_gain,
        &p.ln2_bias, &p.fc_weight, &p.fc_bias, &p.proj_weight, &p.proj_bias}) {
    *pair = cursor->Next();
  }
}

BlockSlots Block::PlanSlots(const BlockShape& shape, int64_t tokens, int64_t samples,
                            ArenaPlan* plan) {
  const int64_t w = shape.width;
  const int64_t queries = shape.pruned ? samples : tokens;
  BlockSlots slots;
  slots.stats1 = plan->AddWide(tokens, 2);
  if (shape.pruned) {
    slots.qkv = plan->Add(tokens, 2 * w);
    slots.ln1_rows = plan->Add(samples, w);
    slots.x_rows = plan->AddWide(samples, w);
    slots.q = plan->Add(samples, w);
  } else {
    slots.qkv = plan->Add(tokens, 3 * w);
  }
  slots.lse = plan->AddWide(queries, shape.heads);
  slots.attended = plan->Add(queries, w);
  slots.mid = plan->AddWide(queries, w);
  slots.stats2 = plan->AddWide(queries, 2);
  slots.pre = plan->Add(queries, 4 * w);
  return slots;
}

BlockScratch Block::PlanScratch(int64_t width, int64_t tokens, int64_t samples, ArenaPlan* plan) {
  BlockScratch scratch;
  scratch.branch = plan->Add(tokens, width);
  scratch.wide = plan->Add(tokens, 4 * width);
  scratch.d_rows = plan->Add(samples, width);
  return scratch;
}

AttentionShape Block::Attention(const Sequences& sequences) const {
  return {sequences, shape_.heads, shape_.causal, shape_.pruned};
}

void Block::Forward(const OpTable& ops, const Arena& arena, const BlockSlots& slots,
                    const BlockScratch& scratch, const Sequences& sequences, View x,
                    View out) const {
  const Params& p = params_;
  const int64_t w = shape_.width, tokens = x.rows, rows = out.rows;
  const View ln1 = arena.At(scratch.branch, tokens);
  const View qkv = arena.At(slots.qkv, tokens);
  const View attended = arena.At(slots.attended, rows);
  const View lse = arena.At(slots.lse, rows);
  const View mid = arena.At(slots.mid, rows);

  ops.LayerNorm(x, p.ln1_gain.weight, p.ln1_bias.weight, ln1, arena.At(slots.stats1, tokens));
  if (!shape_.pruned) {
    ops.Linear(ln1, p.in_weight.weight, p.in_bias.weight, {}, qkv);
    ops.Attention(Attention(sequences), qkv.Cols(0, w), qkv.Cols(w, w), qkv.Cols(2 * w, w),
                  attended, lse);
    ops.Linear(attended, p.out_weight.weight, p.out_bias.weight, x, mid);
  } else {
    const View ln1_rows = arena.At(slots.ln1_rows, rows);
    const View x_rows = arena.At(slots.x_rows, rows);
    const View q = arena.At(slots.q, rows);
    ops.Linear(ln1, p.in_weight.weight.Rows(w, 2 * w), p.in_bias.weight.Cols(w, 2 * w), {}, qkv);
    ops.GatherRows(ln1, sequences, shape_.pick, ln1_rows);
    ops.Linear(ln1_rows, p.in_weight.weight.Rows(0, w), p.in_bias.weight.Cols(0, w), {}, q);
    ops.Attention(Attention(sequences), q, qkv.Cols(0, w), qkv.Cols(w, w), attended, lse);
    ops.GatherRows(x, sequences, shape_.pick, x_rows);
    ops.Linear(attended, p.out_weight.weight, p.out_bias.weight, x_rows, mid);
  }

  const View ln2 = arena.At(scratch.branch, rows);
  const View act = arena.At(scratch.wide, rows);
  ops.LayerNorm(mid, p.ln2_gain.weight, p.ln2_bias.weight, ln2, arena.At(slots.stats2, rows));
  ops.LinearActivation(ln2, p.fc_weight.weight, p.fc_bias.weight, shape_.activation,
                       arena.At(slots.pre, rows), act);
  ops.Linear(act, p.proj_weight.weight, p.proj_bias.weight, mid, out);
}

void Block::Backward(const OpTable& ops, const Arena& arena, const BlockSlots& slots,
                     const BlockScratch& scratch, const Sequences& sequences, View x, View d,
                     View d_x) const {
  const Params& p = params_;
  const int64_t rows = d.rows;
  const View pre = arena.At(slots.pre, rows);
  const View act = arena.At(scratch.wide, rows), d_pre = act;
  const View ln2 = arena.At(scratch.branch, rows), d_branch = ln2;

  ops.Activate(pre, shape_.activation, act);
  ops.LinearBackwardWeight(act, d, p.proj_weight.grad, p.proj_bias.grad);
  ops.LinearActivationBackwardInput(d, p.proj_weight.weight, shape_.activation, pre, d_pre);
  ops.LayerNorm(arena.At(slots.mid, rows), p.ln2_gain.weight, p.ln2_bias.weight, ln2,
                arena.At(slots.stats2, rows));
  ops.LinearBackwardWeight(ln2, d_pre, p.fc_weight.grad, p.fc_bias.grad);
  ops.LinearBackwardInput(d_pre, p.fc_weight.weight, d_branch);
  ops.LayerNormBackward(arena.At(slots.mid, rows), arena.At(slots.stats2, rows), p.ln2_gain.weight,
                        d_branch, /*add=*/true, d, p.ln2_gain.grad,
                        p.ln2_bias.grad);  // d is now the gradient of mid

  ops.LinearBackwardWeight(arena.At(slots.attended, rows), d, p.out_weight.grad, p.out_bias.grad);
  if (shape_.pruned) {
    BackwardPrunedAttention(ops, arena, slots, scratch, sequences, x, d, d_x);
  } else {
    BackwardAttention(ops, arena, slots, scratch, sequences, x, d, d_x);
  }
}

void Block::BackwardAttention(const OpTable& ops, const Arena& arena, const BlockSlots& slots,
                              const BlockScratch& scratch, const Sequences& sequences, View x,
                              View d, View d_x) const {
  const Params& p = params_;
  const int64_t w = shape_.width, tokens = x.rows;
  const View qkv = arena.At(slots.qkv, tokens);
  const View ln1 = arena.At(scratch.branch, tokens), d_branch = ln1;
  View d_qkv = arena.At(scratch.wide, tokens).Cols(0, 3 * w);
  d_qkv.stride = 3 * w;

  ops.LinearBackwardInput(d, p.out_weight.weight, d_branch);
  ops.AttentionBackward(Attention(sequences), qkv.Cols(0, w), qkv.Cols(w, w), qkv.Cols(2 * w, w),
                        arena.At(slots.attended, tokens), arena.At(slots.lse, tokens), d_branch,
                        d_qkv.Cols(0, w), d_qkv.Cols(w, w), d_qkv.Cols(2 * w, w));
  ops.LayerNorm(x, p.ln1_gain.weight, p.ln1_bias.weight, ln1, arena.At(slots.stats1, tokens));
  ops.LinearBackwardWeight(ln1, d_qkv, p.in_weight.grad, p.in_bias.grad);
  ops.LinearBackwardInput(d_qkv, p.in_weight.weight, d_branch);
  CONTRAIL_ASSERT(d.data == d_x.data);  // the residual's gradient is already there
  ops.LayerNormBackward(x, arena.At(slots.stats1, tokens), p.ln1_gain.weight, d_branch,
                        /*add=*/true, d_x, p.ln1_gain.grad, p.ln1_bias.grad);
}

void Block::BackwardPrunedAttention(const OpTable& ops, const Arena& arena, const BlockSlots& slots,
                                    const BlockScratch& scratch, const Sequences& sequences, View x,
                                    View d, View d_x) const {
  const Params& p = params_;
  const int64_t w = shape_.width, tokens = x.rows, rows = d.rows;
  const View kv = arena.At(slots.qkv, tokens);
  const View d_rows = arena.At(scratch.d_rows, rows);
  const View ln1 = arena.At(scratch.branch, tokens), d_branch = ln1;
  View d_kv = arena.At(scratch.wide, tokens).Cols(0, 2 * w);
  d_kv.stride = 2 * w;
  const View d_q = d_x.Rows(0, rows).As(kv.type);  // free until d_x itself is formed
  const View in_q = p.in_weight.weight.Rows(0, w), in_kv = p.in_weight.weight.Rows(w, 2 * w);

  ops.LinearBackwardInput(d, p.out_weight.weight, d_rows);
  ops.AttentionBackward(Attention(sequences), arena.At(slots.q, rows), kv.Cols(0, w), kv.Cols(w, w),
                        arena.At(slots.attended, rows), arena.At(slots.lse, rows), d_rows, d_q,
                        d_kv.Cols(0, w), d_kv.Cols(w, w));
  ops.LinearBackwardWeight(arena.At(slots.ln1_rows, rows), d_q, p.in_weight.grad.Rows(0, w),
                           p.in_bias.grad.Cols(0, w));
  ops.LayerNorm(x, p.ln1_gain.weight, p.ln1_bias.weight, ln1, arena.At(slots.stats1, tokens));
  ops.LinearBackwardWeight(ln1, d_kv, p.in_weight.grad.Rows(w, 2 * w),
                           p.in_bias.grad.Cols(w, 2 * w));
  ops.LinearBackwardInput(d_kv, in_kv, d_branch);
  ops.LinearBackwardInput(d_q, in_q, d_rows);
  ops.ScatterAddRows(d_rows, sequences, shape_.pick, d_branch);
  ops.LayerNormBackward(x, arena.At(slots.stats1, tokens), p.ln1_gain.weight, d_branch,
                        /*add=*/false, d_x, p.ln1_gain.grad, p.ln1_bias.grad);
  ops.ScatterAddRows(d, sequences, shape_.pick, d_x);  // the residual
}

}  // namespace contrail::model
