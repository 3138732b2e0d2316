// Matrix products of 16-bit operands with fp32 sums. Two ways to the same function:
//
//   native      AVX512_BF16's dot product of pairs; panels hold units of two bf16 along k
//   converting  panels hold fp32 units, so the fp32 tile does the work: memory halves, speed stays
//
// Operands may be fp32 instead of the product's 16-bit type: they are rounded to it while they are
// packed, on both ways, so that these differ in the order of sums only.
//
// Where C is fp32 and accumulated into, chunks of k add to it directly. Everywhere else a C of
// which no chunk may be rounded stays in scratch memory until its last chunk; then bias, residual,
// activation and rounding are one pass.

namespace contrail::model::kernels::CONTRAIL_ISA {

constexpr int64_t kMixedBytes = int64_t{512} << 10;    // of a packed panel of B
constexpr int64_t kMixedDepth = 1024;                  // units of k at a time
constexpr int64_t kAddingDepth = 256;                  // where each chunk adds to C
constexpr int64_t kMixedColumns = 512;                 // at most, in a panel
constexpr int64_t kScratchFloats = int64_t{96} << 10;  // C between chunks
static_assert(kMixedBytes + 4 * (kRows * kMixedDepth + kLanes<float> + kScratchFloats) <=
              kPackBytes);
// Where each chunk adds, A is turned (a weight's gradient) and C needs no scratch.
static_assert(kMixedBytes + 4 * kTilesOfA * kTileOfA<float> <= kPackBytes &&
              kAddingDepth <= kDepth);

CONTRAIL_INLINE const void* Element(Format format, const void* p, int64_t i) {
  return static_cast<const char*>(p) + i * (format == Format::kFloat ? 4 : 2);
}
CONTRAIL_INLINE void* Element(Format format, void* p, int64_t i) {
  return static_cast<char*>(p) + i * (format == Format::kFloat ? 4 : 2);
}

// fp32 units: the 16-bit number itself, or fp32 rounded to the type.
struct Converting {
  static constexpr int64_t kPerUnit = 1;
  static constexpr int64_t kLanesAlong = kLanes<float>;

  static CONTRAIL_INLINE Vec<float> Fit(Format type, Format format, Vec<float> v) {
    return format == Format::kFloat ? Widen(type, Narrow(type, v)) : v;
  }
  // Units from `count` elements that follow each other along k.
  static CONTRAIL_INLINE Vec<float> Along(Format type, Format format, const void* p,
                                          int64_t count) {
    return Fit(type, format, ReadAs(format, p, 0, count));
  }
  // One unit each of `count` columns that follow each other; `rows` of k are there, `step` apart.
  static CONTRAIL_INLINE Vec<float> Across(Format type, Format format, const void* p,
                                           int64_t /*step*/, int64_t /*rows*/, int64_t count) {
    return Fit(type, format, ReadAs(format, p, 0, count));
  }
  static bool InPlace(const MixedGemm& /*g*/) { return false; }
  static void Tile(int64_t rows, int64_t vecs, const Sliver<float>& s) {
    Micro<float>(rows, vecs, s);
  }
};

#if CONTRAIL_NATIVE_BF16
template <int64_t kM, int64_t kV>
__attribute__((noinline)) void PairTile(const Sliver<float>& s) {
  Vec<float> acc[kM][kV] = {};
  const float* a = s.a;
  const float* b = s.b;
  const int64_t a_row = s.a_row, a_col = s.a_col, b_row = s.b_row;
  for (int64_t k = 0; k < s.k; ++k) {
    __m512bh bv[kV];
#pragma GCC unroll 8
    for (int64_t j = 0; j < kV; ++j) bv[j] = (__m512bh)Load(b + j * kLanes<float>);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kM; ++i) {
      const auto pair = (__m512bh)_mm512_set1_ps(a[i * a_row]);
#pragma GCC unroll 8
      for (int64_t j = 0; j < kV; ++j) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], pair, bv[j]);
    }
    a += a_col;
    b += b_row;
  }
#pragma GCC unroll 8
  for (int64_t j = 0; j < kV; ++j) {
    const int64_t lanes = j + 1 < kV ? kLanes<float> : s.last_lanes;
#pragma GCC unroll 8
    for (int64_t i = 0; i < kM; ++i) {
      float* c = s.c + i * s.c_row + j * kLanes<float>;
      Vec<float> value = acc[i][j];
      if (s.add_c) value += Read(c, lanes);
      Write(c, value, lanes);
    }
  }
}

template <int64_t kM>
void PairWidth(int64_t vecs, const Sliver<float>& s) {
  if (vecs == 4) return PairTile<kM, 4>(s);
  if (vecs == 3) return PairTile<kM, 3>(s);
  if (vecs == 2) return PairTile<kM, 2>(s);
  return PairTile<kM, 1>(s);
}

// Pairs of bf16.
struct Pairs {
  static constexpr int64_t kPerUnit = 2;
  static constexpr int64_t kLanesAlong = 2 * kLanes<float>;

  static CONTRAIL_INLINE Halves Rounded(Format format, const void* p, int64_t count) {
    if (format != Format::kFloat) return LoadHalves(static_cast<const uint16_t*>(p), count);
    return NarrowBFloat16(Read(static_cast<const float*>(p), count));
  }
  static CONTRAIL_INLINE Vec<float> Along(Format /*type*/, Format format, const void* p,
                                          int64_t count) {
    constexpr int64_t kN = kLanes<float>;
    const int64_t low = count < kN ? count : kN;
    const auto first = reinterpret_cast<__m256i>(Rounded(format, p, low));
    const auto second =
        count > kN ? reinterpret_cast<__m256i>(Rounded(format, Element(format, p, kN), count - kN))
                   : _mm256_setzero_si256();
    return (Vec<float>)_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  }
  static CONTRAIL_INLINE Vec<float> Across(Format /*type*/, Format format, const void* p,
                                           int64_t step, int64_t rows, int64_t count) {
    const Words low = __builtin_convertvector(Rounded(format, p, count), Words);
    if (rows == 1) return AsFloats(low);
    const Halves next = Rounded(format, Element(format, p, step), count);
    return AsFloats(low | __builtin_convertvector(next, Words) << 16);
  }
  // Rows of whole pairs are read where they are.
  static bool InPlace(const MixedGemm& g) {
    return g.a_format == Format::kBFloat16 && g.a_col == 1 && g.a_row % 2 == 0 && g.k % 2 == 0;
  }
  static void Tile(int64_t rows, int64_t vecs, const Sliver<float>& s) {
    switch (rows) {
      case 1:
        return PairWidth<1>(vecs, s);
      case 2:
        return PairWidth<2>(vecs, s);
      case 3:
        return PairWidth<3>(vecs, s);
      case 4:
        return PairWidth<4>(vecs, s);
      case 5:
        return PairWidth<5>(vecs, s);
      default:
        return PairWidth<6>(vecs, s);
    }
  }
};
#endif

// to[units][width] of k rows and n columns of B from (k0, n0), as gemm.h's PackPanel: slivers one
// after the other, zero to the right of n.
template <typename Way>
void PackMixedPanel(const MixedGemm& g, int64_t k0, int64_t k, int64_t n0, int64_t n, float* to) {
  constexpr int64_t kN = kLanes<float>, kPer = Way::kPerUnit;
  const int64_t units = (k + kPer - 1) / kPer;
  for (int64_t j0 = 0; j0 < n; j0 += kSliver<float>) {
    const int64_t width = WidthAt<float>(n - j0);
    for (int64_t j = j0; j < j0 + width; j += kN, to += kN) {
      const int64_t columns = n - j < kN ? n - j : kN;
      const auto at = [&](int64_t row, int64_t column) {
        return Element(g.b_format, g.b, (k0 + row) * g.b_row + (n0 + j + column) * g.b_col);
      };
      if (g.b_col == 1) {
        for (int64_t u = 0; u < units; ++u) {
          const int64_t rows = k - u * kPer < kPer ? k - u * kPer : kPer;
          Store(to + u * width,
                Way::Across(g.type, g.b_format, at(u * kPer, 0), g.b_row, rows, columns));
        }
        continue;
      }
      for (int64_t u = 0; u < units; u += kN) {
        const int64_t here = units - u < kN ? units - u : kN;
        const int64_t left = k - u * kPer;
        const int64_t count = left < Way::kLanesAlong ? left : Way::kLanesAlong;
        Vec<float> square[kN] = {};
        for (int64_t c = 0; c < columns; ++c) {
          square[c] = Way::Along(g.type, g.b_format, at(u * kPer, c), count);
        }
        Transpose<float>(square);
        for (int64_t r = 0; r < here; ++r) Store(to + (u + r) * width, square[r]);
      }
    }
    to += (units - 1) * width;
  }
}

// Where a tile finds its rows of A: packed units, or A itself.
struct Rows {
  const float* a;
  int64_t row, col;
};

// As gemm.h's PackA. A store writes past its rows: the next unit's place.
template <typename Way>
void PackMixedTiles(const MixedGemm& g, int64_t m0, int64_t rows, int64_t k0, int64_t k,
                    float* to) {
  constexpr int64_t kPer = Way::kPerUnit, kN = kLanes<float>;
  for (int64_t i = 0; i < k; i += kPer, to += kRows) {
    const int64_t deep = k - i < kPer ? k - i : kPer;
    float* tile = to;
    for (int64_t r0 = 0; r0 < rows; r0 += kRows, tile += kTileOfA<float>) {
      for (int64_t r = r0; r < rows && r < r0 + kRows; r += kN) {
        const void* from = Element(g.a_format, g.a, (m0 + r) * g.a_row + (k0 + i) * g.a_col);
        Store(tile + (r - r0),
              Way::Across(g.type, g.a_format, from, g.a_col, deep, rows - r < kN ? rows - r : kN));
      }
    }
  }
}

template <typename Way>
Rows PackMixedRows(const MixedGemm& g, int64_t m0, int64_t rows, int64_t k0, int64_t k, float* to) {
  constexpr int64_t kPer = Way::kPerUnit;
  const auto at = [&](int64_t row, int64_t column) {
    return Element(g.a_format, g.a, (m0 + row) * g.a_row + (k0 + column) * g.a_col);
  };
  if (Way::InPlace(g)) return {static_cast<const float*>(at(0, 0)), g.a_row / kPer, 1};
  const int64_t units = (k + kPer - 1) / kPer;
  if (g.a_col == 1) {
    const int64_t stride = (units + kLanes<float> - 1) / kLanes<float> * kLanes<float>;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < k; i += Way::kLanesAlong) {
        const int64_t count = k - i < Way::kLanesAlong ? k - i : Way::kLanesAlong;
        Store(to + r * stride + i / kPer, Way::Along(g.type, g.a_format, at(r, i), count));
      }
    }
    return {to, stride, 1};
  }
  PackMixedTiles<Way>(g, m0, rows, k0, k, to);
  return {to, 1, kRows};
}

// Sums that are complete: [rows, columns] of C from (row, column).
inline void FinishMixed(const MixedGemm& g, int64_t row, int64_t rows, int64_t column,
                        int64_t columns, const float* sums, int64_t sums_row) {
  using Epilogue = MixedGemm::Epilogue;
  for (int64_t i = 0; i < rows; ++i, sums += sums_row) {
    void* c = Element(g.c_format, g.c, (row + i) * g.c_row + column);
    void* other = Element(g.type, g.other, (row + i) * g.other_row + column);
    const void* residual =
        Element(g.residual_format, g.residual, (row + i) * g.residual_row + column);
    EachVector<float>(columns, [&](int64_t j, int64_t lanes) {
      Vec<float> v = Load(sums + j);
      if (g.bias != nullptr) v += Read(g.bias + column + j, lanes);
      if (g.residual != nullptr) v += ReadAs(g.residual_format, residual, j, lanes);
      if (g.epilogue == Epilogue::kBackActivate) {
        v *= ActivateSlope<float>(ReadAs(g.type, other, j, lanes), g.exact_gelu);
      }
      WriteAs(g.c_format, c, j, v, lanes);
      if (g.epilogue == Epilogue::kActivate) {  // of what was stored: a backward forms it again
        v = ReadAs(g.c_format, c, j, lanes);
        WriteAs(g.type, other, j, Activate<float>(v, g.exact_gelu), lanes);
      }
    });
  }
}

CONTRAIL_INLINE int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename Way>
void RunMixed(const MixedGemm& g, void* pack) {
  float* const panel = static_cast<float*>(pack);
  float* const a_rows = panel + kMixedBytes / 4;
  float* const scratch = a_rows + kRows * kMixedDepth + kLanes<float>;
  // How k is cut depends on k alone, so no result depends on how m and n are split.
  const int64_t units = (g.k + Way::kPerUnit - 1) / Way::kPerUnit;
  const int64_t limit = g.accumulate ? kAddingDepth : kMixedDepth;
  const int64_t chunks = units == 0 ? 1 : (units + limit - 1) / limit;
  const int64_t depth = (units + chunks - 1) / chunks * Way::kPerUnit;
  const int64_t fitting = depth == 0 ? kMixedColumns : kMixedBytes / 4 * Way::kPerUnit / depth;
  const int64_t panel_columns =
      Least(kMixedColumns / kSliver<float>, fitting / kSliver<float>) * kSliver<float>;
  const bool keeps = !g.accumulate && chunks > 1;  // sums wait for the next chunk
  const int64_t block = keeps ? kScratchFloats / panel_columns / kRows * kRows : g.m;
  for (int64_t n0 = 0; n0 < g.n; n0 += panel_columns) {
    const int64_t n = Least(panel_columns, g.n - n0);
    for (int64_t m_block = 0; m_block < g.m; m_block += block) {
      const int64_t m_end = Least(g.m, m_block + block);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t k0 = chunk * depth, k = Least(depth, g.k - k0);
        PackMixedPanel<Way>(g, k0, k, n0, n, panel);
        for (int64_t m0 = m_block; m0 < m_end; m0 += kRows) {
          const int64_t rows = Least(kRows, m_end - m0);
          Rows a{a_rows, 1, kRows};
          if (g.a_col == 1 || !g.accumulate) {
            a = PackMixedRows<Way>(g, m0, rows, k0, k, a_rows);
          } else {
            const int64_t tile = m0 / kRows % kTilesOfA;
            if (tile == 0) {
              PackMixedTiles<Way>(g, m0, Least(kTilesOfA * kRows, m_end - m0), k0, k, a_rows);
            }
            a.a = a_rows + tile * kTileOfA<float>;
          }
          Sliver<float> s{};
          s.k = (k + Way::kPerUnit - 1) / Way::kPerUnit;
          s.a = a.a;
          s.a_row = a.row;
          s.a_col = a.col;
          s.add_c = g.accumulate || chunk > 0;
          float* const c = g.accumulate ? static_cast<float*>(g.c) + m0 * g.c_row + n0
                           : keeps      ? scratch + (m0 - m_block) * panel_columns
                                        : scratch;
          s.c_row = g.accumulate ? g.c_row : panel_columns;
          s.b = panel;
          for (int64_t j = 0; j < n; j += kSliver<float>) {
            const int64_t width = WidthAt<float>(n - j), vecs = width / kLanes<float>;
            s.b_row = width;
            s.c = c + j;
            s.last_lanes =
                g.accumulate ? Least(n - j, width) - (vecs - 1) * kLanes<float> : kLanes<float>;
            Way::Tile(rows, vecs, s);
            s.b += s.k * width;
          }
          if (!g.accumulate && chunk + 1 == chunks) {
            FinishMixed(g, m0, rows, n0, n, c, panel_columns);
          }
        }
      }
    }
  }
}

inline void MixedProduct(const MixedGemm& g, void* pack) {
#if CONTRAIL_NATIVE_BF16
  if (g.type == Format::kBFloat16) return RunMixed<Pairs>(g, pack);
#endif
  RunMixed<Converting>(g, pack);
}

}  // namespace contrail::model::kernels::CONTRAIL_ISA
