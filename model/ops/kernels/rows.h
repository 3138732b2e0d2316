// Passes over rows: layer norm, L2 norm, sums of columns, and small elementwise loops. Rows are
// whole vectors plus a tail; sums are kept in vector lanes and folded at the end.

namespace contrail::model::kernels::CONTRAIL_ISA {

// sum over the row of f(vector at j), where missing lanes read as zero.
template <typename T, typename F>
CONTRAIL_INLINE T RowSum(int64_t n, const F& f) {
  constexpr int64_t kN = kLanes<T>;
  Vec<T> sum0{}, sum1{};
  int64_t j = 0;
  for (; j + 2 * kN <= n; j += 2 * kN) {
    sum0 += f(j, kN);
    sum1 += f(j + kN, kN);
  }
  for (; j + kN <= n; j += kN) sum0 += f(j, kN);
  if (j < n) sum1 += f(j, n - j);
  return Sum<T>(sum0 + sum1);
}

template <typename T>
CONTRAIL_INLINE Vec<T> Read(const T* p, int64_t lanes) {
  return lanes == kLanes<T> ? Load(p) : LoadPart(p, lanes);
}
template <typename T>
CONTRAIL_INLINE void Write(T* p, Vec<T> v, int64_t lanes) {
  if (lanes == kLanes<T>) {
    Store(p, v);
  } else {
    StorePart(p, v, lanes);
  }
}
// f(j, lanes) for each vector of a row.
template <typename T, typename F>
CONTRAIL_INLINE void EachVector(int64_t n, const F& f) {
  constexpr int64_t kN = kLanes<T>;
  int64_t j = 0;
  for (; j + kN <= n; j += kN) f(j, kN);
  if (j < n) f(j, n - j);
}

template <typename T>
void LayerNorm(int64_t m, int64_t n, const T* x, int64_t x_row, const T* gain, const T* bias, T* y,
               int64_t y_row, T* stats) {
  for (int64_t i = 0; i < m; ++i, x += x_row, y += y_row, stats += 2) {
    const T mean = RowSum<T>(n, [=](int64_t j, int64_t lanes) { return Read(x + j, lanes); }) /
                   static_cast<T>(n);
    const T square = RowSum<T>(n, [=](int64_t j, int64_t lanes) {
      const Vec<T> centred =
          (lanes == kLanes<T> ? Load(x + j) : LoadPart(x + j, lanes, mean)) - mean;
      return centred * centred;
    });
    const T rstd = T(1) / static_cast<T>(__builtin_sqrt(square / static_cast<T>(n) + T(1e-5)));
    stats[0] = mean;
    stats[1] = rstd;
    EachVector<T>(n, [=](int64_t j, int64_t lanes) {
      const Vec<T> normal = (Read(x + j, lanes) - mean) * rstd;
      Write<T>(y + j, normal * Read(gain + j, lanes) + Read(bias + j, lanes), lanes);
    });
  }
}

// With g = gain * d_y and z = (x - mean) rstd: d_x = rstd (g - mean(g) - z mean(g z)).
template <typename T>
void LayerNormBackward(int64_t m, int64_t n, const T* x, int64_t x_row, const T* stats,
                       const T* gain, const T* d_y, int64_t d_y_row, bool add, T* d_x,
                       int64_t d_x_row) {
  for (int64_t i = 0; i < m; ++i, x += x_row, d_y += d_y_row, d_x += d_x_row, stats += 2) {
    const T mean = stats[0], rstd = stats[1];
    Vec<T> sum{}, dot{};
    EachVector<T>(n, [&](int64_t j, int64_t lanes) {
      const Vec<T> g = Read(d_y + j, lanes) * Read(gain + j, lanes);
      sum += g;
      dot += g * ((Read(x + j, lanes) - mean) * rstd);
    });
    const T mean_g = Sum<T>(sum) / static_cast<T>(n);
    const T mean_gz = Sum<T>(dot) / static_cast<T>(n);
    EachVector<T>(n, [=](int64_t j, int64_t lanes) {
      const Vec<T> g = Read(d_y + j, lanes) * Read(gain + j, lanes);
      const Vec<T> z = (Read(x + j, lanes) - mean) * rstd;
      Vec<T> value = (g - mean_g - z * mean_gz) * rstd;
      if (add) value += Read(d_x + j, lanes);
      Write<T>(d_x + j, value, lanes);
    });
  }
}

// Long columns are summed in runs of kRun rows, so that fp32 keeps its digits.
constexpr int64_t kRun = 64;

template <typename T>
void LayerNormGains(int64_t m, int64_t n, const T* x, int64_t x_row, const T* stats, const T* d_y,
                    int64_t d_y_row, T* d_gain, T* d_bias) {
  EachVector<T>(n, [=](int64_t j, int64_t lanes) {
    Vec<T> gain{}, bias{};
    for (int64_t i0 = 0; i0 < m; i0 += kRun) {
      Vec<T> run_gain{}, run_bias{};
      for (int64_t i = i0; i < m && i < i0 + kRun; ++i) {
        const Vec<T> g = Read(d_y + i * d_y_row + j, lanes);
        run_gain += g * ((Read(x + i * x_row + j, lanes) - stats[2 * i]) * stats[2 * i + 1]);
        run_bias += g;
      }
      gain += run_gain;
      bias += run_bias;
    }
    Write<T>(d_gain + j, Read(d_gain + j, lanes) + gain, lanes);
    Write<T>(d_bias + j, Read(d_bias + j, lanes) + bias, lanes);
  });
}

template <typename T>
void ColumnSums(int64_t m, int64_t n, const T* x, int64_t x_row, T* sums) {
  EachVector<T>(n, [=](int64_t j, int64_t lanes) {
    Vec<T> sum{};
    for (int64_t i0 = 0; i0 < m; i0 += kRun) {
      Vec<T> even{}, odd{};
      int64_t i = i0;
      const int64_t end = i0 + kRun < m ? i0 + kRun : m;
      for (; i + 2 <= end; i += 2) {
        even += Read(x + i * x_row + j, lanes);
        odd += Read(x + (i + 1) * x_row + j, lanes);
      }
      if (i < end) even += Read(x + i * x_row + j, lanes);
      sum += even + odd;
    }
    Write<T>(sums + j, Read(sums + j, lanes) + sum, lanes);
  });
}

template <typename T>
void Normalize(int64_t m, int64_t n, const T* x, int64_t x_row, T* y, int64_t y_row, T* norms) {
  for (int64_t i = 0; i < m; ++i, x += x_row, y += y_row) {
    const T square = RowSum<T>(n, [=](int64_t j, int64_t lanes) {
      const Vec<T> v = Read(x + j, lanes);
      return v * v;
    });
    const T norm = static_cast<T>(__builtin_sqrt(square));
    norms[i] = norm < T(1e-12) ? T(1e-12) : norm;
    // Where the sum of squares overflows the row becomes NaN, which is seen, and not zero.
    const bool finite = norm < static_cast<T>(__builtin_inf());
    const T scale = finite ? T(1) / norms[i] : static_cast<T>(__builtin_nan(""));
    EachVector<T>(
        n, [=](int64_t j, int64_t lanes) { Write<T>(y + j, Read(x + j, lanes) * scale, lanes); });
  }
}

template <typename T>
void NormalizeBackward(int64_t m, int64_t n, const T* y, int64_t y_row, const T* norms,
                       const T* d_y, int64_t d_y_row, T* d_x, int64_t d_x_row) {
  for (int64_t i = 0; i < m; ++i, y += y_row, d_y += d_y_row, d_x += d_x_row) {
    const T dot = RowSum<T>(
        n, [=](int64_t j, int64_t lanes) { return Read(y + j, lanes) * Read(d_y + j, lanes); });
    const T scale = T(1) / norms[i];
    EachVector<T>(n, [=](int64_t j, int64_t lanes) {
      Write<T>(d_x + j, (Read(d_y + j, lanes) - Read(y + j, lanes) * dot) * scale, lanes);
    });
  }
}

template <typename T>
void Add(int64_t n, const T* a, const T* b, T* out) {
  EachVector<T>(n, [=](int64_t j, int64_t lanes) {
    Write<T>(out + j, Read(a + j, lanes) + Read(b + j, lanes), lanes);
  });
}

template <typename T>
void ActivateRow(int64_t n, const T* x, bool exact_gelu, T* y) {
  EachVector<T>(n, [=](int64_t j, int64_t lanes) {
    Write<T>(y + j, Activate<T>(Read(x + j, lanes), exact_gelu), lanes);
  });
}

}  // namespace contrail::model::kernels::CONTRAIL_ISA
