// Attention: one task a sequence and head.
#include "common/error.h"
#include "model/ops/cpu_ops.h"

namespace contrail::model {
namespace {

template <typename T>
kernels::Head<T> HeadOf(const AttentionShape& shape, int64_t sequence, int64_t head, View q, View k,
                        View v, View out, View lse) {
  const int64_t begin = shape.sequences.Begin(sequence);
  const int64_t first_query = shape.single_query ? sequence : begin;
  kernels::Head<T> h;
  h.keys = shape.sequences.Begin(sequence + 1) - begin;
  h.queries = shape.single_query ? 1 : h.keys;
  h.dim = q.cols / shape.heads;
  h.causal = shape.causal && !shape.single_query;
  const int64_t column = head * h.dim;
  h.q = q.as<T>() + first_query * q.stride + column;
  h.k = k.as<T>() + begin * k.stride + column;
  h.v = v.as<T>() + begin * v.stride + column;
  h.q_row = q.stride;
  h.k_row = k.stride;
  h.v_row = v.stride;
  h.out = out.as<T>() + first_query * out.stride + column;
  h.out_row = out.stride;
  h.lse = lse.as<T>() + first_query * lse.stride + head;
  h.lse_row = lse.stride;
  return h;
}

void CheckShape(const AttentionShape& shape, View q) {
  CONTRAIL_ASSERT(shape.sequences.longest <= kernels::kLongestSequence &&
                  q.cols % shape.heads == 0 && q.cols / shape.heads <= kernels::kHeadDim);
}

// f(sequence, head) for all of them; a thread takes at least a sequence.
template <typename F>
void EachHead(const AttentionShape& shape, const F& f) {
  ParallelFor(0, shape.sequences.count * shape.heads, shape.heads, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t sequence = task / shape.heads;
      if (shape.sequences.Begin(sequence) == shape.sequences.Begin(sequence + 1)) {
        continue;
      }
      f(sequence, task % shape.heads);
    }
  });
}

}  // namespace

void CpuOpTable::Attention(const AttentionShape& shape, View q, View k, View v, View out,
                           View lse) const {
  CheckShape(shape, q);
  ByType(q.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    EachHead(shape, [&](int64_t sequence, int64_t head) {
      const Workspace work = ThreadWorkspace();
      table.attention(HeadOf<T>(shape, sequence, head, q, k, v, out, lse), work.pack,
                      work.attention);
    });
  });
}

void CpuOpTable::AttentionBackward(const AttentionShape& shape, View q, View k, View v, View out,
                                   View lse, View d_out, View d_q, View d_k, View d_v) const {
  CheckShape(shape, q);
  ByType(q.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    EachHead(shape, [&](int64_t sequence, int64_t head) {
      kernels::Head<T> h = HeadOf<T>(shape, sequence, head, q, k, v, out, lse);
      const int64_t begin = shape.sequences.Begin(sequence);
      const int64_t first_query = shape.single_query ? sequence : begin;
      const int64_t column = head * h.dim;
      h.d_out = d_out.as<T>() + first_query * d_out.stride + column;
      h.d_out_row = d_out.stride;
      h.d_q = d_q.as<T>() + first_query * d_q.stride + column;
      h.d_k = d_k.as<T>() + begin * d_k.stride + column;
      h.d_v = d_v.as<T>() + begin * d_v.stride + column;
      h.d_q_row = d_q.stride;
      h.d_k_row = d_k.stride;
      h.d_v_row = d_v.stride;
      const Workspace work = ThreadWorkspace();
      table.attention_backward(h, work.pack, work.attention);
    });
  });
}

}  // namespace contrail::model
