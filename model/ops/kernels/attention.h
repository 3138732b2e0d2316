// Softmax attention of one head of one short sequence: scores of kQueryRows queries against all
// keys stay in the caches, so there is no running maximum and nothing of size T x T is kept. The
// backward forms the scores again from q, k and the saved log-sum-exp.

namespace contrail::model::kernels::CONTRAIL_ISA {

template <typename T>
struct AttentionScratch {
  T *k, *v;   // [dim, keys] packed: B of q k^T and of d_out v^T
  T *p, *ds;  // [kQueryRows, row]
  int64_t row;

  AttentionScratch(void* scratch, int64_t keys) {
    row = (keys + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
    k = static_cast<T*>(scratch);
    v = k + kHeadDim * row;
    p = v + kHeadDim * row;
    ds = p + kQueryRows * row;
  }
};

// c[m, n] (=, +=) a b, each through its strides.
template <typename T>
CONTRAIL_INLINE void Multiply(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row,
                              int64_t a_col, const T* b, int64_t b_row, T* c, int64_t c_row,
                              bool accumulate, void* pack) {
  Gemm<T> g;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = a;
  g.a_row = a_row;
  g.a_col = a_col;
  g.b = b;
  g.b_row = b_row;
  g.b_col = 1;
  g.c = c;
  g.c_row = c_row;
  g.accumulate = accumulate;
  RunGemm(g, pack);
}

// scores[rows, keys] = x[rows, dim] y[keys, dim]^T, y packed as scratch k or v of all its keys.
template <typename T>
CONTRAIL_INLINE void Score(int64_t rows, int64_t keys, const Head<T>& head, const T* x,
                           int64_t x_row, const T* packed, T* scores, int64_t row, void* pack) {
  Gemm<T> g;
  g.m = rows;
  g.n = keys;
  g.k = head.dim;
  g.a = x;
  g.a_row = x_row;
  g.a_col = 1;
  g.c = scores;
  g.c_row = row;
  RunGemmWith(g, Shortcuts<T>{packed, head.keys, /*roomy_c=*/true}, pack);
}

template <typename T>
T InverseRoot(int64_t dim) {
  return static_cast<T>(1.0 / __builtin_sqrt(static_cast<double>(dim)));
}

// Where f sees columns of a row: whole vectors, of which lanes from n on do not count.
template <typename T, typename F>
CONTRAIL_INLINE void EachMasked(int64_t n, int64_t end, const F& f) {
  for (int64_t j = 0; j < end; j += kLanes<T>) f(j, Count<T>(j) < static_cast<T>(n));
}

template <typename T>
void ZeroRows(int64_t rows, int64_t n, T* x, int64_t x_row) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < n; ++j) x[i * x_row + j] = 0;
  }
}

CONTRAIL_INLINE float Log(float x) { return __builtin_logf(x); }
CONTRAIL_INLINE double Log(double x) { return __builtin_log(x); }

// p = softmax(p scale) over the first n of `end` columns, zero after them; returns log-sum-exp.
// Where a score is NaN or an overflow, so is all of the row: x - top is NaN for one of its lanes.
template <typename T>
CONTRAIL_INLINE T SoftmaxRow(int64_t n, int64_t end, T scale, T* p) {
  const T lowest = -static_cast<T>(__builtin_inf());
  Vec<T> tops = Splat(lowest);
  EachMasked<T>(n, end, [&](int64_t j, auto counts) {
    const Vec<T> x = counts ? Load(p + j) : Splat(lowest);
    Store(p + j, x);
    tops = Max<T>(tops, x);
  });
  const T top = Largest<T>(tops);
  Vec<T> sums{};
  for (int64_t j = 0; j < end; j += kLanes<T>) {
    const Vec<T> e = Exp((Load(p + j) - top) * scale);  // 0 of what does not count
    sums += e;
    Store(p + j, e);
  }
  const T sum = Sum<T>(sums), inverse = T(1) / sum;
  for (int64_t j = 0; j < end; j += kLanes<T>) Store(p + j, Load(p + j) * inverse);
  return top * scale + Log(sum);
}

template <typename T>
void Attention(const Head<T>& head, void* pack, void* scratch) {
  const AttentionScratch<T> s(scratch, head.keys);
  const T scale = InverseRoot<T>(head.dim);
  PackPanel(head.dim, head.keys, head.k, int64_t{1}, head.k_row, s.k);
  for (int64_t i0 = 0; i0 < head.queries; i0 += kQueryRows) {
    const int64_t rows = head.queries - i0 < kQueryRows ? head.queries - i0 : kQueryRows;
    const int64_t keys = head.causal ? i0 + rows : head.keys;  // no query here sees a later one
    Score(rows, keys, head, head.q + i0 * head.q_row, head.q_row, s.k, s.p, s.row, pack);
    for (int64_t i = 0; i < rows; ++i) {
      head.lse[(i0 + i) * head.lse_row] =
          SoftmaxRow(head.causal ? i0 + i + 1 : keys, keys, scale, s.p + i * s.row);
    }
    Multiply(rows, head.dim, keys, s.p, s.row, int64_t{1}, head.v, head.v_row,
             head.out + i0 * head.out_row, head.out_row, false, pack);
  }
}

// With p the softmax and D_i = <d_out_i, out_i>:
//   d_v = p^T d_out    dp = d_out v^T    ds = p * (dp - D) / sqrt(d)    d_q = ds k    d_k = ds^T q
template <typename T>
void AttentionBackward(const Head<T>& head, void* pack, void* scratch) {
  const AttentionScratch<T> s(scratch, head.keys);
  const T scale = InverseRoot<T>(head.dim);
  PackPanel(head.dim, head.keys, head.k, int64_t{1}, head.k_row, s.k);
  PackPanel(head.dim, head.keys, head.v, int64_t{1}, head.v_row, s.v);
  // Where not all keys are seen by the first chunk of queries, the later ones add to zeros.
  const bool add_all = head.causal && head.queries > kQueryRows;
  if (add_all) {
    ZeroRows(head.keys, head.dim, head.d_k, head.d_k_row);
    ZeroRows(head.keys, head.dim, head.d_v, head.d_v_row);
  }
  for (int64_t i0 = 0; i0 < head.queries; i0 += kQueryRows) {
    const int64_t rows = head.queries - i0 < kQueryRows ? head.queries - i0 : kQueryRows;
    const int64_t keys = head.causal ? i0 + rows : head.keys;
    const T* q = head.q + i0 * head.q_row;
    const T* d_out = head.d_out + i0 * head.d_out_row;
    Score(rows, keys, head, q, head.q_row, s.k, s.p, s.row, pack);
    Score(rows, keys, head, d_out, head.d_out_row, s.v, s.ds, s.row, pack);
    for (int64_t i = 0; i < rows; ++i) {
      const T* o = head.out + (i0 + i) * head.out_row;
      const T* d_o = d_out + i * head.d_out_row;
      const T dot = RowSum<T>(head.dim, [=](int64_t j, int64_t lanes) {
        return Read(o + j, lanes) * Read(d_o + j, lanes);
      });
      const T lse = head.lse[(i0 + i) * head.lse_row];
      T* p = s.p + i * s.row;
      T* ds = s.ds + i * s.row;
      EachMasked<T>(head.causal ? i0 + i + 1 : keys, keys, [=](int64_t j, auto counts) {
        const Vec<T> e = counts ? Exp(Load(p + j) * scale - lse) : Vec<T>{};
        Store(p + j, e);
        Store(ds + j, counts ? e * (Load(ds + j) - dot) * scale : Vec<T>{});
      });
    }
    const bool add = add_all || i0 > 0;
    Multiply(rows, head.dim, keys, s.ds, s.row, int64_t{1}, head.k, head.k_row,
             head.d_q + i0 * head.d_q_row, head.d_q_row, false, pack);
    Multiply(keys, head.dim, rows, s.ds, int64_t{1}, s.row, q, head.q_row, head.d_k, head.d_k_row,
             add, pack);
    Multiply(keys, head.dim, rows, s.p, int64_t{1}, s.row, d_out, head.d_out_row, head.d_v,
             head.d_v_row, add, pack);
  }
}

}  // namespace contrail::model::kernels::CONTRAIL_ISA
