// Softmax attention of one head of one short sequence: scores of kQueryRows queries against all
// keys stay in the caches, so there is no running maximum and nothing of size T x T is kept. The
// backward forms the scores again from q, k and the saved log-sum-exp.

namespace contrail::model::kernels::CONTRAIL_ISA {

template <typename T>
struct AttentionScratch {
  T *p, *ds;  // [kQueryRows, padded keys]
  int64_t row;

  AttentionScratch(void* scratch, int64_t keys) {
    row = (keys + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
    p = static_cast<T*>(scratch);
    ds = p + kQueryRows * row;
  }
};

// c[m, n] (=, +=) a b, each through its strides.
template <typename T>
CONTRAIL_INLINE void Multiply(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row,
                              int64_t a_col, const T* b, int64_t b_row, int64_t b_col, T* c,
                              int64_t c_row, bool accumulate, void* pack) {
  Gemm<T> g;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = a;
  g.a_row = a_row;
  g.a_col = a_col;
  g.b = b;
  g.b_row = b_row;
  g.b_col = b_col;
  g.c = c;
  g.c_row = c_row;
  g.accumulate = accumulate;
  RunGemm(g, pack);
}

template <typename T>
T InverseRoot(int64_t dim) {
  return static_cast<T>(1.0 / __builtin_sqrt(static_cast<double>(dim)));
}

// The largest of n entries.
template <typename T>
CONTRAIL_INLINE T RowMax(int64_t n, const T* x) {
  const T lowest = static_cast<T>(-__builtin_inff());
  Vec<T> top = Splat(lowest);
  EachVector<T>(n, [&](int64_t j, int64_t lanes) {
    top = Max<T>(top, lanes == kLanes<T> ? Load(x + j) : LoadPart(x + j, lanes, lowest));
  });
  T best = lowest;
  for (int64_t i = 0; i < kLanes<T>; ++i) best = top[i] > best ? top[i] : best;
  return best;
}

template <typename T>
void ZeroFrom(int64_t first, int64_t end, T* x) {
  for (int64_t j = first; j < end; ++j) x[j] = 0;
}

template <typename T>
void Attention(const Head<T>& head, void* pack, void* scratch) {
  const AttentionScratch<T> s(scratch, head.keys);
  const T scale = InverseRoot<T>(head.dim);
  for (int64_t i0 = 0; i0 < head.queries; i0 += kQueryRows) {
    const int64_t rows = head.queries - i0 < kQueryRows ? head.queries - i0 : kQueryRows;
    const int64_t keys = head.causal ? i0 + rows : head.keys;  // no query here sees a later one
    Multiply(rows, keys, head.dim, head.q + i0 * head.q_row, head.q_row, int64_t{1}, head.k,
             int64_t{1}, head.k_row, s.p, s.row, false, pack);
    for (int64_t i = 0; i < rows; ++i) {
      T* p = s.p + i * s.row;
      const int64_t n = head.causal ? i0 + i + 1 : keys;
      const T top = RowMax<T>(n, p);
      Vec<T> sums{};
      EachVector<T>(n, [&](int64_t j, int64_t lanes) {
        Vec<T> e = Exp((Read(p + j, lanes) - top) * scale);
        if (lanes < kLanes<T>) e = LoadPart(reinterpret_cast<const T*>(&e), lanes);
        sums += e;
        Write<T>(p + j, e, lanes);
      });
      const T sum = Sum<T>(sums);
      const T inverse = T(1) / sum;
      EachVector<T>(n, [=](int64_t j, int64_t lanes) {
        Write<T>(p + j, Read(p + j, lanes) * inverse, lanes);
      });
      ZeroFrom(n, keys, p);
      head.lse[(i0 + i) * head.lse_row] =
          top * scale + static_cast<T>(__builtin_log(static_cast<double>(sum)));
    }
    Multiply(rows, head.dim, keys, s.p, s.row, int64_t{1}, head.v, head.v_row, int64_t{1},
             head.out + i0 * head.out_row, head.out_row, false, pack);
  }
}

// With p the softmax and D_i = <d_out_i, out_i>:
//   d_v = p^T d_out    dp = d_out v^T    ds = p * (dp - D) / sqrt(d)    d_q = ds k    d_k = ds^T q
template <typename T>
void AttentionBackward(const Head<T>& head, void* pack, void* scratch) {
  const AttentionScratch<T> s(scratch, head.keys);
  const T scale = InverseRoot<T>(head.dim);
  if (head.causal) {  // later chunks of queries add to keys that earlier chunks never touch
    for (int64_t j = 0; j < head.keys; ++j) {
      ZeroFrom(int64_t{0}, head.dim, head.d_k + j * head.d_k_row);
      ZeroFrom(int64_t{0}, head.dim, head.d_v + j * head.d_v_row);
    }
  }
  for (int64_t i0 = 0; i0 < head.queries; i0 += kQueryRows) {
    const int64_t rows = head.queries - i0 < kQueryRows ? head.queries - i0 : kQueryRows;
    const int64_t keys = head.causal ? i0 + rows : head.keys;
    const T* q = head.q + i0 * head.q_row;
    const T* d_out = head.d_out + i0 * head.d_out_row;
    Multiply(rows, keys, head.dim, q, head.q_row, int64_t{1}, head.k, int64_t{1}, head.k_row, s.p,
             s.row, false, pack);
    Multiply(rows, keys, head.dim, d_out, head.d_out_row, int64_t{1}, head.v, int64_t{1},
             head.v_row, s.ds, s.row, false, pack);
    for (int64_t i = 0; i < rows; ++i) {
      const T* o = head.out + (i0 + i) * head.out_row;
      const T* d_o = d_out + i * head.d_out_row;
      const T dot = RowSum<T>(head.dim, [=](int64_t j, int64_t lanes) {
        return Read(o + j, lanes) * Read(d_o + j, lanes);
      });
      const T lse = head.lse[(i0 + i) * head.lse_row];
      T* p = s.p + i * s.row;
      T* ds = s.ds + i * s.row;
      const int64_t n = head.causal ? i0 + i + 1 : keys;
      EachVector<T>(n, [=](int64_t j, int64_t lanes) {
        const Vec<T> e = Exp(Read(p + j, lanes) * scale - lse);
        Write<T>(p + j, e, lanes);
        Write<T>(ds + j, e * (Read(ds + j, lanes) - dot) * scale, lanes);
      });
      ZeroFrom(n, keys, p);
      ZeroFrom(n, keys, ds);
    }
    const bool add = head.causal || i0 > 0;
    Multiply(rows, head.dim, keys, s.ds, s.row, int64_t{1}, head.k, head.k_row, int64_t{1},
             head.d_q + i0 * head.d_q_row, head.d_q_row, false, pack);
    Multiply(keys, head.dim, rows, s.ds, int64_t{1}, s.row, q, head.q_row, int64_t{1}, head.d_k,
             head.d_k_row, add, pack);
    Multiply(keys, head.dim, rows, s.p, int64_t{1}, s.row, d_out, head.d_out_row, int64_t{1},
             head.d_v, head.d_v_row, add, pack);
  }
}

}  // namespace contrail::model::kernels::CONTRAIL_ISA
