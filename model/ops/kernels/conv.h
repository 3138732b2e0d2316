// Convolution tiles; see conv_kernels.h. A piece's lines are copied once, with their border and
// what goes before the convolution (batch norm and ReLU), into a buffer that fits the second-level
// cache. There the three taps of a line are contiguous, so a product's row is a pointer and k runs
// of k C.

#include "model/ops/kernels/conv_kernels.h"

namespace contrail::model::kernels::CONTRAIL_ISA {

constexpr int64_t kConvVecs = CONTRAIL_GEMM_VECS;
template <typename T>
constexpr int64_t kConvSliver = kConvVecs* kLanes<T>;

template <typename T>
CONTRAIL_INLINE int64_t ConvWidth(int64_t left) {  // of the sliver with so many columns to the end
  const int64_t columns = left < kConvSliver<T> ? left : kConvSliver<T>;
  return (columns + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// max(0, v), of which a NaN stays one.
template <typename T>
CONTRAIL_INLINE Vec<T> Relu(Vec<T> v) {
  const Vec<T> zero{};
  return zero > v ? zero : v;
}

template <typename S, typename T = Compute<S>>
CONTRAIL_INLINE void FillPosition(const S* x, int64_t n, const T* scale, const T* shift, T* to) {
  constexpr int64_t kN = kLanes<T>;
  int64_t c = 0;
  if (scale == nullptr) {
    for (; c + kN <= n; c += kN) Store(to + c, Read(x + c, kN));
    if (c < n) StorePart(to + c, Read(x + c, n - c), n - c);
    return;
  }
  for (; c + kN <= n; c += kN) {
    Store(to + c, Relu<T>(Read(x + c, kN) * Load(scale + c) + Load(shift + c)));
  }
  if (c < n) {
    const int64_t left = n - c;
    const Vec<T> v = Read(x + c, left) * LoadPart(scale + c, left) + LoadPart(shift + c, left);
    StorePart(to + c, Relu<T>(v), left);
  }
}

template <typename T>
void FillZeros(int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = 0;
}

// Where the patches lie: position (image, line, column) of the output begins at
//   data + ((image * lines + line * stride) * width + column * stride) * step.
template <typename T>
struct Field {
  const T* data;
  int64_t lines, width, step;
};

template <typename S, typename T = Compute<S>>
Field<T> FillField(const Patches<S>& in, T* scratch) {
  const int64_t n = in.channels, border = in.kernel / 2;
  const T* scale = in.scale == nullptr ? nullptr : in.scale + in.channel;
  const T* shift = in.shift == nullptr ? nullptr : in.shift + in.channel;
  const Field<T> field{scratch, (in.lines - 1) * in.stride + in.kernel, in.width + 2 * border, n};
  T* to = scratch;
  for (int64_t image = in.image; image < in.image + in.images; ++image) {
    for (int64_t i = 0; i < field.lines; ++i) {
      const int64_t line = in.line * in.stride + i - border;
      if (line < 0 || line >= in.height) {
        FillZeros(field.width * n, to);
        to += field.width * n;
        continue;
      }
      const S* x = in.x + (image * in.height + line) * in.width * in.x_row + in.channel;
      FillZeros(border * n, to);
      to += border * n;
      for (int64_t column = 0; column < in.width; ++column, x += in.x_row, to += n) {
        FillPosition(x, n, scale, shift, to);
      }
      FillZeros(border * n, to);
      to += border * n;
    }
  }
  return field;
}

// Positions read as they are need no copy.
template <typename S, typename T = Compute<S>>
Field<T> MakeField(const Patches<S>& in, T* scratch) {
  if constexpr (std::is_same_v<S, T>) {
    if (in.kernel == 1 && in.stride == 1 && in.scale == nullptr) {
      const int64_t first = (in.image * in.height + in.line) * in.width;
      return {in.x + first * in.x_row + in.channel, in.lines, in.width, in.x_row};
    }
  }
  return FillField(in, scratch);
}

template <typename T>
struct ConvSliver {
  const T* a[kConvRows];
  int64_t runs, run, run_step;  // k runs of `run` elements, each `run_step` after the last
  const T* b;
  int64_t b_row;
  T* c;
  int64_t c_row;
  bool add;
  const T* residual;
  int64_t residual_row;
  int64_t last_lanes;
};

template <typename T, int64_t kM, int64_t kV>
__attribute__((noinline)) void ConvTile(const ConvSliver<T>& s) {
  Vec<T> acc[kM][kV] = {};
  const T* a[kM];
#pragma GCC unroll 8
  for (int64_t i = 0; i < kM; ++i) a[i] = s.a[i];
  const T* b = s.b;
  const int64_t b_row = s.b_row;
  for (int64_t r = 0; r < s.runs; ++r) {
    const int64_t end = r * s.run_step + s.run;
    for (int64_t k = r * s.run_step; k < end; ++k) {
      Vec<T> bv[kV];
#pragma GCC unroll 8
      for (int64_t j = 0; j < kV; ++j) bv[j] = Load(b + j * kLanes<T>);
#pragma GCC unroll 8
      for (int64_t i = 0; i < kM; ++i) {
        const T value = a[i][k];
#pragma GCC unroll 8
        for (int64_t j = 0; j < kV; ++j) acc[i][j] += value * bv[j];
      }
      b += b_row;
    }
  }
#pragma GCC unroll 8
  for (int64_t j = 0; j < kV; ++j) {
    const int64_t lanes = j + 1 < kV ? kLanes<T> : s.last_lanes;
    const auto load = [&](const T* p) { return lanes == kLanes<T> ? Load(p) : LoadPart(p, lanes); };
#pragma GCC unroll 8
    for (int64_t i = 0; i < kM; ++i) {
      T* c = s.c + i * s.c_row + j * kLanes<T>;
      Vec<T> value = acc[i][j];
      if (s.add) value += load(c);
      if (s.residual != nullptr) value += load(s.residual + i * s.residual_row + j * kLanes<T>);
      if (lanes == kLanes<T>) {
        Store(c, value);
      } else {
        StorePart(c, value, lanes);
      }
    }
  }
}

// What one unit of a weight's gradient sums over: positions of lines, `b_step` apart.
template <typename T>
struct GradientSliver {
  const T* a;  // [positions, kConvRows]
  const T* b;
  int64_t images, image_step, lines, line_step, positions, b_step;
  T* c;
  int64_t c_row, last_lanes;
};

template <typename T, int64_t kV>
__attribute__((noinline)) void GradientTile(const GradientSliver<T>& s) {
  Vec<T> acc[kConvRows][kV] = {};
  const T* a = s.a;
  for (int64_t image = 0; image < s.images; ++image) {
    for (int64_t line = 0; line < s.lines; ++line) {
      const T* b = s.b + image * s.image_step + line * s.line_step;
      for (int64_t p = 0; p < s.positions; ++p) {
        Vec<T> bv[kV];
#pragma GCC unroll 8
        for (int64_t j = 0; j < kV; ++j) bv[j] = Load(b + j * kLanes<T>);
#pragma GCC unroll 8
        for (int64_t i = 0; i < kConvRows; ++i) {
#pragma GCC unroll 8
          for (int64_t j = 0; j < kV; ++j) acc[i][j] += a[i] * bv[j];
        }
        a += kConvRows;
        b += s.b_step;
      }
    }
  }
#pragma GCC unroll 8
  for (int64_t j = 0; j < kV; ++j) {
    const int64_t lanes = j + 1 < kV ? kLanes<T> : s.last_lanes;
#pragma GCC unroll 8
    for (int64_t i = 0; i < kConvRows; ++i) {
      T* c = s.c + i * s.c_row + j * kLanes<T>;
      if (lanes == kLanes<T>) {
        Store(c, Load(c) + acc[i][j]);
      } else {
        StorePart(c, LoadPart(c, lanes) + acc[i][j], lanes);
      }
    }
  }
}

template <typename T, int64_t kM>
void ConvVecs(int64_t vecs, const ConvSliver<T>& s) {
  if constexpr (kConvVecs >= 4) {
    if (vecs == 4) return ConvTile<T, kM, 4>(s);
    if (vecs == 3) return ConvTile<T, kM, 3>(s);
  }
  if (vecs == 2) return ConvTile<T, kM, 2>(s);
  return ConvTile<T, kM, 1>(s);
}

template <typename T>
void ConvRows(int64_t rows, int64_t vecs, const ConvSliver<T>& s) {
  switch (rows) {
    case 1:
      return ConvVecs<T, 1>(vecs, s);
    case 2:
      return ConvVecs<T, 2>(vecs, s);
    case 3:
      return ConvVecs<T, 3>(vecs, s);
    case 4:
      return ConvVecs<T, 4>(vecs, s);
    case 5:
      return ConvVecs<T, 5>(vecs, s);
    default:
      return ConvVecs<T, kConvRows>(vecs, s);
  }
}

template <typename T>
void GradientVecs(int64_t vecs, const GradientSliver<T>& s) {
  if constexpr (kConvVecs >= 4) {
    if (vecs == 4) return GradientTile<T, 4>(s);
    if (vecs == 3) return GradientTile<T, 3>(s);
  }
  if (vecs == 2) return GradientTile<T, 2>(s);
  return GradientTile<T, 1>(s);
}

template <typename S, typename T = Compute<S>>
void Convolve(const ConvPiece<S>& piece, T* scratch) {
  const Patches<S>& in = piece.in;
  const Field<T> field = MakeField(in, scratch);
  ConvSliver<T> s{};
  s.runs = in.kernel;
  s.run = in.kernel * in.channels;
  s.run_step = field.width * field.step;
  s.c_row = piece.out_row;
  s.add = piece.add;
  s.residual_row = piece.residual_row;
  const int64_t depth = s.runs * s.run, rows = in.images * in.lines * in.out_width;
  int64_t image = 0, line = 0, column = 0;
  for (int64_t r0 = 0; r0 < rows; r0 += kConvRows) {
    const int64_t tile = rows - r0 < kConvRows ? rows - r0 : kConvRows;
    for (int64_t i = 0; i < tile; ++i) {
      s.a[i] = field.data +
               ((image * field.lines + line * in.stride) * field.width + column * in.stride) *
                   field.step;
      if (++column == in.out_width) {
        column = 0;
        if (++line == in.lines) {
          line = 0;
          ++image;
        }
      }
    }
    s.b = piece.b;
    for (int64_t j = 0; j < piece.columns; j += kConvSliver<T>) {
      const int64_t left = piece.columns - j;
      const int64_t columns = left < kConvSliver<T> ? left : kConvSliver<T>;
      s.b_row = ConvWidth<T>(left);
      s.c = piece.out + r0 * piece.out_row + j;
      s.residual =
          piece.residual == nullptr ? nullptr : piece.residual + r0 * piece.residual_row + j;
      const int64_t vecs = s.b_row / kLanes<T>;
      s.last_lanes = columns - (vecs - 1) * kLanes<T>;
      ConvRows<T>(tile, vecs, s);
      s.b += depth * s.b_row;
    }
  }
}

// to[row][kConvRows] = `count` columns of x's rows, zeros beyond. Writes up to a vector behind.
template <typename S, typename T = Compute<S>>
void PackOutputs(int64_t rows, int64_t count, const S* x, int64_t x_row, T* to) {
  constexpr int64_t kN = kLanes<T>;
  for (int64_t r = 0; r < rows; ++r, x += x_row, to += kConvRows) {
    if constexpr (CONTRAIL_VECTOR_BYTES == 64) {  // where masks cost nothing
      Store(to, Read(x, count));
    } else {
      for (int64_t i = 0; i < kConvRows; i += kN) {
        const int64_t here = count - i < kN ? count - i : kN, room = kConvRows - i;
        const Vec<T> v = here > 0 ? Read(x + i, here) : Vec<T>{};
        StorePart(to + i, v, room < kN ? room : kN);
      }
    }
  }
}

template <typename S, typename T = Compute<S>>
void ConvolveGradient(const ConvGradientPiece<S>& piece, T* scratch) {
  const Patches<S>& in = piece.in;
  const int64_t rows = in.images * in.lines * in.out_width;
  T* const packed = scratch;  // then the lines
  T* const lines = scratch + (rows * kConvRows + kLanes<T> + 63) / 64 * 64;
  // Tiles read whole vectors: of a copy, behind which there is room, where channels are not whole.
  const Field<T> field = in.channels % kLanes<T> == 0 ? MakeField(in, lines) : FillField(in, lines);
  const int64_t line_step = field.width * field.step, n = in.kernel * in.channels;
  GradientSliver<T> s{};
  s.a = packed;
  s.images = in.images;
  s.image_step = field.lines * line_step;
  s.lines = in.lines;
  s.line_step = in.stride * line_step;
  s.positions = in.out_width;
  s.b_step = in.stride * field.step;
  s.c_row = n;
  int64_t have = -1;
  for (int64_t unit = piece.begin; unit < piece.end; ++unit) {
    const int64_t tile = unit / in.kernel, tap_line = unit % in.kernel, output = tile * kConvRows;
    if (tile != have) {
      const int64_t left = piece.outputs - output;
      PackOutputs(rows, left < kConvRows ? left : kConvRows, piece.d_out + output, piece.d_out_row,
                  packed);
      have = tile;
    }
    T* const sums = piece.sums + (unit - piece.begin) * kConvRows * n;
    for (int64_t j = 0; j < n; j += kConvSliver<T>) {
      const int64_t left = n - j, width = ConvWidth<T>(left);
      const int64_t columns = left < kConvSliver<T> ? left : kConvSliver<T>;
      s.b = field.data + tap_line * line_step + j;
      s.c = sums + j;
      s.last_lanes = columns - (width / kLanes<T> - 1) * kLanes<T>;
      GradientVecs<T>(width / kLanes<T>, s);
    }
  }
}

template <typename S, typename T = Compute<S>>
void PackWeight(const S* w, int64_t inputs, int64_t kernel, int64_t channel, int64_t channels,
                int64_t column, int64_t columns, T* b) {
  constexpr int64_t kN = kLanes<T>;
  const int64_t taps = kernel * kernel, depth = taps * channels, w_row = taps * inputs;
  for (int64_t j0 = 0; j0 < columns; j0 += kConvSliver<T>) {
    const int64_t width = ConvWidth<T>(columns - j0);
    for (int64_t j = 0; j < width; j += kN) {
      const int64_t left = columns - j0 - j, count = left < kN ? left : kN;
      const S* from = w + (column + j0 + j) * w_row + channel * taps;
      int64_t c = 0, tap = 0;  // of k: weights hold the taps fastest, b the channels
      for (int64_t k = 0; k < depth; k += kN) {
        const int64_t many = depth - k < kN ? depth - k : kN;
        Vec<T> square[kN] = {};
        for (int64_t i = 0; i < count; ++i) {
          square[i] = Read(from + i * w_row + k, many);
        }
        Transpose<T>(square);
        for (int64_t r = 0; r < many; ++r) {
          Store(b + (tap * channels + c) * width + j, square[r]);
          if (++tap == taps) {
            tap = 0;
            ++c;
          }
        }
      }
    }
    b += depth * width;
  }
}

// Nine taps of some adjacent channels, turned: b[tap][channels].
template <typename S, typename T = Compute<S>>
CONTRAIL_INLINE void TurnTaps(int64_t count, const S* w, T* b, int64_t tap_step) {
  constexpr int64_t kTaps = 9, kN = kLanes<T>;
  if constexpr (kN >= kTaps) {
    Vec<T> square[kN] = {};
    for (int64_t i = 0; i < count; ++i) square[i] = Read(w + i * kTaps, kTaps);
    Transpose<T>(square);
#pragma GCC unroll 16
    for (int64_t tap = 0; tap < kTaps; ++tap) Store(b + (kTaps - 1 - tap) * tap_step, square[tap]);
  } else {
    for (int64_t tap = 0; tap < kTaps; ++tap) {
      T* to = b + (kTaps - 1 - tap) * tap_step;
      for (int64_t i = 0; i < kN; ++i) to[i] = i < count ? Read(w + i * kTaps + tap, 1)[0] : T(0);
    }
  }
}

template <typename S, typename T = Compute<S>>
void PackTurned(const S* w, int64_t inputs, int64_t kernel, int64_t channel, int64_t channels,
                int64_t column, int64_t columns, T* b) {
  constexpr int64_t kN = kLanes<T>;
  const int64_t taps = kernel * kernel;
  for (int64_t j0 = 0; j0 < columns; j0 += kConvSliver<T>) {
    const int64_t width = ConvWidth<T>(columns - j0);
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t j = 0; j < width; j += kN) {
        const int64_t left = columns - j0 - j, count = left < kN ? left : kN;
        const S* from = w + ((channel + c) * inputs + column + j0 + j) * taps;
        T* to = b + c * width + j;
        if (taps == 1) {
          Store(to, Read(from, count));
        } else {
          TurnTaps(count, from, to, channels * width);
        }
      }
    }
    b += taps * channels * width;
  }
}

}  // namespace contrail::model::kernels::CONTRAIL_ISA
