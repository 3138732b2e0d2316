// Batch norm's passes over rows of channels; see conv_kernels.h. Sums run down the rows in strips
// of a few vectors, whose accumulators stay in registers.

namespace contrail::model::kernels::CONTRAIL_ISA {

// f(j, lanes, vectors) for strips of kStrip whole vectors and then single ones.
constexpr int64_t kStrip = 4;

template <typename T, typename F>
CONTRAIL_INLINE void EachStrip(int64_t n, const F& f) {
  constexpr int64_t kN = kLanes<T>;
  int64_t j = 0;
  for (; j + kStrip * kN <= n; j += kStrip * kN) {
    f.template operator()<kStrip>(j, kN);
  }
  for (; j + kN <= n; j += kN) f.template operator()<1>(j, kN);
  if (j < n) f.template operator()<1>(j, n - j);
}

template <typename T, int64_t kV>
CONTRAIL_INLINE void AddTo(T* sums, const Vec<T> (&values)[kV], int64_t lanes) {
#pragma GCC unroll 8
  for (int64_t v = 0; v < kV; ++v) {
    T* p = sums + v * kLanes<T>;
    Write<T>(p, Read(p, lanes) + values[v], lanes);
  }
}

template <typename T, typename S, int64_t kV>
CONTRAIL_INLINE void ReadStrip(const S* p, int64_t lanes, Vec<T> (&to)[kV]) {
#pragma GCC unroll 8
  for (int64_t v = 0; v < kV; ++v) to[v] = Read(p + v * kLanes<T>, lanes);
}

template <typename S, typename T = Compute<S>>
void NormSums(int64_t rows, int64_t n, const S* x, int64_t x_row, const S* pivot, T* first,
              T* second) {
  for (int64_t r0 = 0; r0 < rows; r0 += kSumRows) {
    const int64_t end = rows - r0 < kSumRows ? rows : r0 + kSumRows;
    EachStrip<T>(n, [&]<int64_t kV>(int64_t j, int64_t lanes) {
      Vec<T> zero[kV], sums[kV] = {}, squares[kV] = {};
      ReadStrip<T>(pivot + j, lanes, zero);
      for (int64_t r = r0; r < end; ++r) {
#pragma GCC unroll 8
        for (int64_t v = 0; v < kV; ++v) {
          const Vec<T> d = Read(x + r * x_row + j + v * kLanes<T>, lanes) - zero[v];
          sums[v] += d;
          squares[v] += d * d;
        }
      }
      AddTo<T>(first + j, sums, lanes);
      AddTo<T>(second + j, squares, lanes);
    });
  }
}

template <typename S, typename T = Compute<S>>
void NormThroughRows(int64_t rows, int64_t n, const NormThrough<S>& norm, S* d, int64_t d_row,
                     T* first, T* second) {
  const bool relu = norm.y != nullptr || norm.scale != nullptr;
  for (int64_t r0 = 0; r0 < rows; r0 += kSumRows) {
    const int64_t end = rows - r0 < kSumRows ? rows : r0 + kSumRows;
    EachStrip<T>(n, [&]<int64_t kV>(int64_t j, int64_t lanes) {
      Vec<T> mean[kV], scale[kV] = {}, shift[kV] = {}, sums[kV] = {}, products[kV] = {};
      ReadStrip<T>(norm.mean + j, lanes, mean);
      if (norm.scale != nullptr) {
        ReadStrip<T>(norm.scale + j, lanes, scale);
        ReadStrip<T>(norm.shift + j, lanes, shift);
      }
      for (int64_t r = r0; r < end; ++r) {
#pragma GCC unroll 8
        for (int64_t v = 0; v < kV; ++v) {
          const int64_t at = j + v * kLanes<T>;
          const Vec<T> x = Read(norm.x + r * norm.x_row + at, lanes);
          Vec<T> g = Read(d + r * d_row + at, lanes);
          if (relu) {
            const Vec<T> y = norm.y != nullptr ? Read(norm.y + r * norm.y_row + at, lanes)
                                               : x * scale[v] + shift[v];
            g = y > T(0) ? g : Vec<T>{};
            Write(d + r * d_row + at, g, lanes);
          }
          sums[v] += g;
          products[v] += g * (x - mean[v]);
        }
      }
      AddTo<T>(first + j, sums, lanes);
      AddTo<T>(second + j, products, lanes);
    });
  }
}

template <typename S, typename T = Compute<S>>
void NormAdd(int64_t rows, int64_t n, const S* x, int64_t x_row, const T* scale, const T* shift,
             const S* residual, int64_t residual_row, const T* r_scale, const T* r_shift, S* y,
             int64_t y_row) {
  for (int64_t r = 0; r < rows; ++r, x += x_row, y += y_row) {
    const S* add = residual == nullptr ? nullptr : residual + r * residual_row;
    EachVector<T>(n, [=](int64_t j, int64_t lanes) {
      Vec<T> v = Read(x + j, lanes) * Read(scale + j, lanes) + Read(shift + j, lanes);
      if (add != nullptr) {
        Vec<T> a = Read(add + j, lanes);
        if (r_scale != nullptr) a = a * Read(r_scale + j, lanes) + Read(r_shift + j, lanes);
        v += a;
      }
      Write(y + j, Relu<T>(v), lanes);
    });
  }
}

template <typename S, typename T = Compute<S>>
void NormBackward(int64_t rows, int64_t n, const S* d, int64_t d_row, const S* x, int64_t x_row,
                  const T* mean, const T* a, const T* b, const T* c, S* d_x, int64_t d_x_row) {
  for (int64_t r = 0; r < rows; ++r, d += d_row, x += x_row, d_x += d_x_row) {
    EachVector<T>(n, [=](int64_t j, int64_t lanes) {
      const Vec<T> centred = Read(x + j, lanes) - Read(mean + j, lanes);
      const Vec<T> through = Read(a + j, lanes) * Read(d + j, lanes) - Read(b + j, lanes);
      Write(d_x + j, through - Read(c + j, lanes) * centred, lanes);
    });
  }
}

template <typename S, typename T = Compute<S>>
void Pool(int64_t n, const S* a, const S* b, int64_t x_row, const T* scale, const T* shift, S* y) {
  EachVector<T>(n, [=](int64_t j, int64_t lanes) {
    const auto read = [&](const S* p) {
      const Vec<T> v = Read(p + j, lanes);
      if (scale == nullptr) return v;
      return Relu<T>(v * Read(scale + j, lanes) + Read(shift + j, lanes));
    };
    const Vec<T> sum = (read(a) + read(a + x_row)) + (read(b) + read(b + x_row));
    Write(y + j, sum * T(0.25), lanes);
  });
}

template <typename S>
constexpr ConvTable<S> MakeConvTable() {
  return {PackWeight<S>,       PackTurned<S>,   Convolve<S>,
          ConvolveGradient<S>, NormSums<S>,     NormThroughRows<S>,
          NormAdd<S>,          NormBackward<S>, Pool<S>};
}

extern const ConvTable<float> kConvFloat;
extern const ConvTable<double> kConvDouble;
extern const ConvTable<BFloat16> kConvBFloat16;
extern const ConvTable<Half> kConvHalf;
#if !CONTRAIL_NATIVE_BF16
constinit const ConvTable<float> kConvFloat = MakeConvTable<float>();
constinit const ConvTable<double> kConvDouble = MakeConvTable<double>();
constinit const ConvTable<BFloat16> kConvBFloat16 = MakeConvTable<BFloat16>();
constinit const ConvTable<Half> kConvHalf = MakeConvTable<Half>();
#endif

}  // namespace contrail::model::kernels::CONTRAIL_ISA
