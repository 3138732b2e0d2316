// Matrix product tiles. B is packed into slivers of four vectors' width, A is read by broadcast;
// six rows by four vectors of C stay in registers (24 of AVX-512's 32). The scheme is Goto and van
// de Geijn's ("Anatomy of high-performance matrix multiplication", TOMS 2008) without A's panel:
// A's rows are short here and stay in the first-level cache by themselves.
//
// Every element of C is summed over k in order, in chunks of kDepth: independent of tiling.

#include "model/ops/kernels/kernels.h"

namespace contrail::model::kernels::CONTRAIL_ISA {

constexpr int64_t kRows = CONTRAIL_GEMM_ROWS;
constexpr int64_t kVecs = CONTRAIL_GEMM_VECS;
constexpr int64_t kDepth = 256;
template <typename T>
constexpr int64_t kSliver = kVecs* kLanes<T>;
// Columns packed at a time: 512 KiB.
template <typename T>
constexpr int64_t kPanel = (kPackBytes / 2) /
                           (kDepth * static_cast<int64_t>(sizeof(T))) / kSliver<T>* kSliver<T>;

template <typename T>
struct Sliver {
  int64_t k;
  const T* a;
  int64_t a_row, a_col;
  const T* b;
  int64_t b_row;
  T* c;
  int64_t c_row;
  bool add_c;
  const T* bias;
  const T* residual;
  int64_t residual_row;
  int64_t last_lanes;  // columns in the last vector
};

template <typename T, int64_t kM, int64_t kV>
__attribute__((noinline)) void MicroTile(const Sliver<T>& s) {
  Vec<T> acc[kM][kV] = {};
  const T* a = s.a;
  const T* b = s.b;
  const int64_t a_row = s.a_row, a_col = s.a_col, b_row = s.b_row;
  for (int64_t k = 0; k < s.k; ++k) {
    Vec<T> bv[kV];
#pragma GCC unroll 8
    for (int64_t j = 0; j < kV; ++j) bv[j] = Load(b + j * kLanes<T>);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kM; ++i) {
      const T value = a[i * a_row];
#pragma GCC unroll 8
      for (int64_t j = 0; j < kV; ++j) acc[i][j] += value * bv[j];
    }
    a += a_col;
    b += b_row;
  }
  const bool whole = s.last_lanes == kLanes<T>;
#pragma GCC unroll 8
  for (int64_t j = 0; j < kV; ++j) {
    const int64_t lanes = j + 1 < kV || whole ? kLanes<T> : s.last_lanes;
    const auto load = [&](const T* p) { return lanes == kLanes<T> ? Load(p) : LoadPart(p, lanes); };
    const Vec<T> bias = s.bias != nullptr ? load(s.bias + j * kLanes<T>) : Vec<T>{};
#pragma GCC unroll 8
    for (int64_t i = 0; i < kM; ++i) {
      T* c = s.c + i * s.c_row + j * kLanes<T>;
      Vec<T> value = acc[i][j];
      if (s.add_c) value += load(c);
      if (s.bias != nullptr) value += bias;
      if (s.residual != nullptr) value += load(s.residual + i * s.residual_row + j * kLanes<T>);
      if (lanes == kLanes<T>) {
        Store(c, value);
      } else {
        StorePart(c, value, lanes);
      }
    }
  }
}

template <typename T, int64_t kM>
void MicroWidth(int64_t vecs, const Sliver<T>& s) {
  if constexpr (kVecs >= 4) {
    if (vecs == 4) return MicroTile<T, kM, 4>(s);
    if (vecs == 3) return MicroTile<T, kM, 3>(s);
  }
  if (vecs == 2) return MicroTile<T, kM, 2>(s);
  return MicroTile<T, kM, 1>(s);
}

template <typename T>
void Micro(int64_t rows, int64_t vecs, const Sliver<T>& s) {
  switch (rows) {
    case 1:
      return MicroWidth<T, 1>(vecs, s);
    case 2:
      return MicroWidth<T, 2>(vecs, s);
    case 3:
      return MicroWidth<T, 3>(vecs, s);
    case 4:
      return MicroWidth<T, 4>(vecs, s);
    case 5:
      return MicroWidth<T, 5>(vecs, s);
    default:
      return MicroWidth<T, 6>(vecs, s);
  }
}

// to[k][width] = b's k rows and n columns, zero to the right of n. width is a multiple of lanes.
template <typename T>
void PackRows(int64_t k, int64_t n, int64_t width, const T* b, int64_t b_row, T* to) {
  for (int64_t i = 0; i < k; ++i, b += b_row, to += width) {
    int64_t j = 0;
    for (; j + kLanes<T> <= n; j += kLanes<T>) Store(to + j, Load(b + j));
    if (j < width) Store(to + j, LoadPart(b + j, n - j));
  }
}

// The same for a B whose columns are contiguous: lanes-by-lanes squares turned in registers.
template <typename T>
void PackColumns(int64_t k, int64_t n, int64_t width, const T* b, int64_t b_col, T* to) {
  constexpr int64_t kN = kLanes<T>;
  for (int64_t j = 0; j < width; j += kN) {
    const int64_t columns = n - j < kN ? n - j : kN;
    for (int64_t i = 0; i < k; i += kN) {
      const int64_t depth = k - i < kN ? k - i : kN;
      Vec<T> square[kN] = {};
      for (int64_t c = 0; c < columns; ++c) {
        const T* p = b + (j + c) * b_col + i;
        square[c] = depth == kN ? Load(p) : LoadPart(p, depth);
      }
      Transpose<T>(square);
      for (int64_t r = 0; r < depth; ++r) Store(to + (i + r) * width + j, square[r]);
    }
  }
}

// How wide the sliver is that begins `left` columns before the end.
template <typename T>
CONTRAIL_INLINE int64_t WidthAt(int64_t left) {
  const int64_t columns = left < kSliver<T> ? left : kSliver<T>;
  return (columns + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

template <typename T>
void PackPanel(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, T* to) {
  for (int64_t j = 0; j < n; j += kSliver<T>) {
    const int64_t columns = n - j < kSliver<T> ? n - j : kSliver<T>;
    const int64_t width = WidthAt<T>(n - j);
    if (b_col == 1) {
      PackRows(k, columns, width, b + j, b_row, to);
    } else {
      PackColumns(k, columns, width, b + j * b_col, b_col, to);
    }
    to += k * width;
  }
}

// A whose rows are the contiguous dimension is packed for several tiles at once: then whole cache
// lines of it are used while they are there.
constexpr int64_t kTilesOfA = 8;
template <typename T>
constexpr int64_t kTileOfA = kDepth* kRows + 64 / static_cast<int64_t>(sizeof(T));

// Tile t, of A's rows from t kRows on, is to[t kTileOfA + k kRows + row].
template <typename T>
void PackA(int64_t k, int64_t rows, const T* a, int64_t a_col, T* to) {
  constexpr int64_t kN = kLanes<T>;
  for (int64_t i = 0; i < k; ++i, a += a_col, to += kRows) {
    T* tile = to;
    for (int64_t r = 0; r < rows; r += kRows, tile += kTileOfA<T>) {
      const int64_t count = rows - r < kRows ? rows - r : kRows;
      if constexpr (CONTRAIL_VECTOR_BYTES == 64) {  // writes past its rows: the next k's place
        Store(tile, rows - r < kN ? LoadPart(a + r, rows - r) : Load(a + r));
      } else {
        for (int64_t j = 0; j < count; ++j) tile[j] = a[r + j];
      }
    }
  }
}

template <typename T>
void FinishRows(const Gemm<T>& g, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  for (int64_t i = row; i < row + rows; ++i) {
    T* c = g.c + i * g.c_row + column;
    T* other = g.other + i * g.other_row + column;
    int64_t j = 0;
    if (g.epilogue == Gemm<T>::Epilogue::kActivate) {
      for (; j + kLanes<T> <= columns; j += kLanes<T>) {
        Store(other + j, Activate<T>(Load(c + j), g.exact_gelu));
      }
      if (j < columns) {
        StorePart(other + j, Activate<T>(LoadPart(c + j, columns - j), g.exact_gelu), columns - j);
      }
    } else {
      for (; j + kLanes<T> <= columns; j += kLanes<T>) {
        Store(c + j, Load(c + j) * ActivateSlope<T>(Load(other + j), g.exact_gelu));
      }
      if (j < columns) {
        const Vec<T> slope = ActivateSlope<T>(LoadPart(other + j, columns - j), g.exact_gelu);
        StorePart(c + j, LoadPart(c + j, columns - j) * slope, columns - j);
      }
    }
  }
}

// What attention knows and a general product does not: B is packed already (by PackPanel, all
// `packed_n` columns at once, k <= kDepth), or C's rows have room for whole vectors, so that what
// is right of n may be written (as sums of B's padding: zeros where this call packs B).
template <typename T>
struct Shortcuts {
  const T* packed = nullptr;
  int64_t packed_n = 0;
  bool roomy_c = false;
};

template <typename T>
void RunGemmWith(const Gemm<T>& g, const Shortcuts<T>& shortcuts, void* pack) {
  T* const packed_b = static_cast<T*>(pack);
  T* const packed_a = packed_b + kPackBytes / 2 / static_cast<int64_t>(sizeof(T));
  for (int64_t n0 = 0; n0 < g.n; n0 += kPanel<T>) {
    const int64_t n = g.n - n0 < kPanel<T> ? g.n - n0 : kPanel<T>;
    // Whole vectors of short rows can be read where they are.
    const bool packed = shortcuts.packed != nullptr;
    const bool in_place = !packed && g.b_col == 1 && n % kLanes<T> == 0 && (g.m <= 4 * kRows);
    for (int64_t k0 = 0; k0 < g.k; k0 += kDepth) {
      const int64_t k = g.k - k0 < kDepth ? g.k - k0 : kDepth;
      const bool first = k0 == 0, last = k0 + k == g.k;
      const T* const b = g.b + k0 * g.b_row + n0 * g.b_col;
      if (!in_place && !packed) PackPanel(k, n, b, g.b_row, g.b_col, packed_b);
      for (int64_t m0 = 0; m0 < g.m; m0 += kRows) {
        const int64_t rows = g.m - m0 < kRows ? g.m - m0 : kRows;
        Sliver<T> s{};
        s.k = k;
        s.a = g.a + m0 * g.a_row + k0 * g.a_col;
        s.a_row = g.a_row;
        s.a_col = g.a_col;
        if (g.a_col != 1 && n > kSliver<T>) {
          const int64_t tile = m0 / kRows % kTilesOfA, left = g.m - m0;
          if (tile == 0) {
            PackA(k, left < kTilesOfA * kRows ? left : kTilesOfA * kRows, s.a, g.a_col, packed_a);
          }
          s.a = packed_a + tile * kTileOfA<T>;
          s.a_row = 1;
          s.a_col = kRows;
        }
        s.add_c = g.accumulate || !first;
        s.c_row = g.c_row;
        s.residual_row = g.residual_row;
        const T* sliver_b = packed ? shortcuts.packed + n0 * k : packed_b;
        for (int64_t j = 0; j < n; j += kSliver<T>) {
          const int64_t columns = n - j < kSliver<T> ? n - j : kSliver<T>;
          const int64_t vecs = (columns + kLanes<T> - 1) / kLanes<T>;
          s.b = in_place ? b + j : sliver_b;
          const int64_t width = packed ? WidthAt<T>(shortcuts.packed_n - n0 - j) : vecs * kLanes<T>;
          s.b_row = in_place ? g.b_row : width;
          s.c = g.c + m0 * g.c_row + n0 + j;
          s.bias = first && g.bias != nullptr ? g.bias + n0 + j : nullptr;
          s.residual =
              first && g.residual != nullptr ? g.residual + m0 * g.residual_row + n0 + j : nullptr;
          s.last_lanes = shortcuts.roomy_c ? kLanes<T> : columns - (vecs - 1) * kLanes<T>;
          Micro<T>(rows, vecs, s);
          sliver_b += k * width;
        }
        if (last && g.epilogue != Gemm<T>::Epilogue::kNone) FinishRows(g, m0, rows, n0, n);
      }
    }
  }
  if (g.k == 0 && !g.accumulate) {
    for (int64_t i = 0; i < g.m; ++i) {
      for (int64_t j = 0; j < g.n; ++j) g.c[i * g.c_row + j] = 0;
    }
  }
}

template <typename T>
void RunGemm(const Gemm<T>& g, void* pack) {
  RunGemmWith(g, Shortcuts<T>{}, pack);
}

}  // namespace contrail::model::kernels::CONTRAIL_ISA
