// Attention: one task a sequence and head. Of 16-bit numbers, a head's operands are widened into
// this thread's memory and its results narrowed from there: scores, softmax and sums are fp32's
// own.
#include "common/error.h"
#include "model/ops/cpu_ops.h"

namespace contrail::model {
namespace {

// Where a head of a sequence lies in the matrices of all.
struct HeadPlace {
  HeadPlace(const AttentionShape& shape, int64_t sequence, int64_t head, View q)
      : first_key(shape.sequences.Begin(sequence)),
        first_query(shape.single_query ? sequence : first_key),
        column(head * (q.cols / shape.heads)) {}

  template <typename T>
  T* Keys(View v) const {
    return v.as<T>() + first_key * v.stride + column;
  }
  template <typename T>
  T* Queries(View v) const {
    return v.as<T>() + first_query * v.stride + column;
  }

  int64_t first_key, first_query, column;
};

// Its sizes, and where its lse goes; operands are the caller's to set.
template <typename T>
kernels::Head<T> HeadOf(const AttentionShape& shape, const HeadPlace& place, int64_t sequence,
                        int64_t head, View q, View lse) {
  kernels::Head<T> h;
  h.keys = shape.sequences.Begin(sequence + 1) - place.first_key;
  h.queries = shape.single_query ? 1 : h.keys;
  h.dim = q.cols / shape.heads;
  h.causal = shape.causal && !shape.single_query;
  h.lse = lse.as<T>() + place.first_query * lse.stride + head;
  h.lse_row = lse.stride;
  return h;
}

template <typename T>
void SetOperands(const HeadPlace& place, View q, View k, View v, View out, kernels::Head<T>* h) {
  h->q = place.Queries<T>(q);
  h->k = place.Keys<T>(k);
  h->v = place.Keys<T>(v);
  h->out = place.Queries<T>(out);
  h->q_row = q.stride;
  h->k_row = k.stride;
  h->v_row = v.stride;
  h->out_row = out.stride;
}

void CheckShape(const AttentionShape& shape, View q) {
  CONTRAIL_ASSERT(q.cols % shape.heads == 0 && q.cols / shape.heads <= kernels::kHeadDim);
}

// This thread's, for sequences of this shape.
Workspace WorkspaceFor(const AttentionShape& shape) {
  return ThreadWorkspace(std::max(kUsualSequence, shape.sequences.longest));
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

// This head's operands in fp32 with rows of their own length, and its results until they are
// narrowed.
class WideHead {
 public:
  WideHead(const kernels::MixedTable& table, const AttentionShape& shape, int64_t sequence,
           int64_t head, View q, View k, View v, View lse, const Workspace& work)
      : wide_(table),
        next_(work.head),
        step_(work.head_rows * kernels::kHeadDim),
        place_(shape, sequence, head, q),
        h_(HeadOf<float>(shape, place_, sequence, head, q, lse)) {
    h_.q = Queries(q, true, &h_.q_row);
    h_.k = Keys(k, true, &h_.k_row);
    h_.v = Keys(v, true, &h_.v_row);
  }
  kernels::Head<float>& head() { return h_; }

  float* Queries(View v, bool read, int64_t* row) {
    return Take(v, place_.first_query, h_.queries, read, row);
  }
  float* Keys(View v, bool read, int64_t* row) {
    return Take(v, place_.first_key, h_.keys, read, row);
  }
  void PutQueries(const float* from, View v) const { Put(from, v, place_.first_query, h_.queries); }
  void PutKeys(const float* from, View v) const { Put(from, v, place_.first_key, h_.keys); }

 private:
  float* Take(View v, int64_t first, int64_t rows, bool read, int64_t* row) {
    float* const memory = next_;
    next_ += step_;
    *row = h_.dim;
    for (int64_t i = 0; read && i < rows; ++i) {
      wide_.ToFloat(v, first + i, place_.column, h_.dim, memory + i * h_.dim);
    }
    return memory;
  }
  void Put(const float* from, View v, int64_t first, int64_t rows) const {
    for (int64_t i = 0; i < rows; ++i) {
      wide_.FromFloat(from + i * h_.dim, v, first + i, place_.column, h_.dim);
    }
  }

  Rows16 wide_;
  float* next_;
  int64_t step_;  // floats of one operand
  HeadPlace place_;
  kernels::Head<float> h_;
};

}  // namespace

void CpuOpTable::Attention16(const AttentionShape& shape, View q, View k, View v, View out,
                             View lse) const {
  EachHead(shape, [&](int64_t sequence, int64_t head) {
    const Workspace work = WorkspaceFor(shape);
    WideHead wide(mixed_, shape, sequence, head, q, k, v, lse, work);
    kernels::Head<float>& h = wide.head();
    h.out = wide.Queries(out, false, &h.out_row);
    float_.attention(h, work.pack, work.attention);
    wide.PutQueries(h.out, out);
  });
}

void CpuOpTable::Attention16Backward(const AttentionShape& shape, View q, View k, View v, View out,
                                     View lse, View d_out, View d_q, View d_k, View d_v) const {
  EachHead(shape, [&](int64_t sequence, int64_t head) {
    const Workspace work = WorkspaceFor(shape);
    WideHead wide(mixed_, shape, sequence, head, q, k, v, lse, work);
    kernels::Head<float>& h = wide.head();
    h.out = wide.Queries(out, true, &h.out_row);
    h.d_out = wide.Queries(d_out, true, &h.d_out_row);
    h.d_q = wide.Queries(d_q, false, &h.d_q_row);
    h.d_k = wide.Keys(d_k, false, &h.d_k_row);
    h.d_v = wide.Keys(d_v, false, &h.d_v_row);
    float_.attention_backward(h, work.pack, work.attention);
    wide.PutQueries(h.d_q, d_q);
    wide.PutKeys(h.d_k, d_k);
    wide.PutKeys(h.d_v, d_v);
  });
}

void CpuOpTable::Attention(const AttentionShape& shape, View q, View k, View v, View out,
                           View lse) const {
  CheckShape(shape, q);
  if (Is16Bit(q.type)) return Attention16(shape, q, k, v, out, lse);
  ByType(q.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    EachHead(shape, [&](int64_t sequence, int64_t head) {
      const HeadPlace place(shape, sequence, head, q);
      kernels::Head<T> h = HeadOf<T>(shape, place, sequence, head, q, lse);
      SetOperands(place, q, k, v, out, &h);
      const Workspace work = WorkspaceFor(shape);
      table.attention(h, work.pack, work.attention);
    });
  });
}

void CpuOpTable::AttentionBackward(const AttentionShape& shape, View q, View k, View v, View out,
                                   View lse, View d_out, View d_q, View d_k, View d_v) const {
  CheckShape(shape, q);
  if (Is16Bit(q.type)) {
    return Attention16Backward(shape, q, k, v, out, lse, d_out, d_q, d_k, d_v);
  }
  ByType(q.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    EachHead(shape, [&](int64_t sequence, int64_t head) {
      const HeadPlace place(shape, sequence, head, q);
      kernels::Head<T> h = HeadOf<T>(shape, place, sequence, head, q, lse);
      SetOperands(place, q, k, v, out, &h);
      h.d_out = place.Queries<T>(d_out);
      h.d_out_row = d_out.stride;
      h.d_q = place.Queries<T>(d_q);
      h.d_k = place.Keys<T>(d_k);
      h.d_v = place.Keys<T>(d_v);
      h.d_q_row = d_q.stride;
      h.d_k_row = d_k.stride;
      h.d_v_row = d_v.stride;
      const Workspace work = WorkspaceFor(shape);
      table.attention_backward(h, work.pack, work.attention);
    });
  });
}

}  // namespace contrail::model
