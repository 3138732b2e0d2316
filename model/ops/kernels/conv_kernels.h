#pragma once
// The inner loops of convolutional towers, beside kernels.h's and under its rules: convolutions
// that form their patches while they read (no matrix of patches in memory), and passes of batch
// norm over rows of channels. Dukhan 2019 ("The indirect convolution algorithm") has the idea:
// a product's rows are pointers.
//
// T is what memory holds: float, double, BFloat16 or Half. Sums, scratch, packed weights and a
// norm's state are Compute<T>.
//
// Images are channels-last. Legend: C channels in, N channels out, k the kernel's side (1 or 3,
// with a border of k / 2 zeros), s its stride.

#include "model/ops/kernels/kernels.h"

namespace contrail::model::kernels {

// Some lines of some images, and what is read there: x, or max(0, x scale + shift).
template <typename T>
struct Patches {
  const T* x = nullptr;  // the first of the stack's positions
  int64_t x_row = 0;     // elements from one position to the next
  int64_t height = 0, width = 0;
  const Compute<T>*scale = nullptr, *shift = nullptr;  // [C]
  int64_t kernel = 1, stride = 1;
  // Where its products stand: lines [line, line + lines) of images [image, image + images).
  int64_t image = 0, images = 1, line = 0, lines = 1, out_width = 0;
  int64_t channel = 0, channels = 0;  // those that this call sums over
};

template <typename T>
struct ConvPiece {
  Patches<T> in;
  const Compute<T>* b = nullptr;  // what pack_weight or pack_turned made
  Compute<T>* out = nullptr;      // [rows, columns] of the patches
  int64_t out_row = 0, columns = 0;
  bool add = false;                      // out +=
  const Compute<T>* residual = nullptr;  // added too; may be out
  int64_t residual_row = 0;
};

// Rows [row, row + rows) of d_w, of each the channels and the line of taps that are asked for.
template <typename T>
struct ConvGradientPiece {
  Patches<T> in;
  const T* d_out = nullptr;  // [rows of the patches, N]
  int64_t d_out_row = 0, outputs = 0;
  int64_t begin = 0, end = 0;  // units: tile of kConvRows outputs x line of taps, the line fastest
  Compute<T>* sums = nullptr;  // [end - begin, kConvRows, k channels] +=
};

inline constexpr int64_t kConvRows = 6;     // outputs in a unit
inline constexpr int64_t kSumRows = 96;     // rows whose sums are formed on their own
inline constexpr int64_t kPieceRows = 448;  // about so many rows are one piece of work

// Rows of a batch norm's gradient on their way through max(0, .), and their two sums a channel:
// d = 0 where the output was not above 0; first += d, second += d (x - mean).
template <typename T>
struct NormThrough {
  const T* x = nullptr;
  int64_t x_row = 0;
  const Compute<T>* mean = nullptr;
  // The output: y, or where it is nullptr x scale + shift; no ReLU where both are.
  const T* y = nullptr;
  int64_t y_row = 0;
  const Compute<T>*scale = nullptr, *shift = nullptr;
};

template <typename T>
struct ConvTable {
  using C = Compute<T>;
  // b[(tap, channel)][n] = w[n][channel][tap] for n in [column, column + columns), w [N, C k k].
  void (*pack_weight)(const T* w, int64_t inputs, int64_t kernel, int64_t channel, int64_t channels,
                      int64_t column, int64_t columns, C* b);
  // The gradient's: b[(tap, channel)][c] = w[channel][c][k k - 1 - tap], c in [column, ...).
  void (*pack_turned)(const T* w, int64_t inputs, int64_t kernel, int64_t channel, int64_t channels,
                      int64_t column, int64_t columns, C* b);
  // `scratch`: room for the patches' lines with their border, and for a gradient kConvRows a row.
  void (*convolve)(const ConvPiece<T>& piece, C* scratch);
  void (*convolve_gradient)(const ConvGradientPiece<T>& piece, C* scratch);

  // first[n] += sum of (x - pivot), second += sum of its squares, kSumRows rows at a time.
  void (*norm_sums)(int64_t rows, int64_t n, const T* x, int64_t x_row, const T* pivot, C* first,
                    C* second);
  void (*norm_through)(int64_t rows, int64_t n, const NormThrough<T>& norm, T* d, int64_t d_row,
                       C* first, C* second);
  // y = max(0, x scale + shift + residual), or residual r_scale + r_shift where those are given.
  void (*norm_add)(int64_t rows, int64_t n, const T* x, int64_t x_row, const C* scale,
                   const C* shift, const T* residual, int64_t residual_row, const C* r_scale,
                   const C* r_shift, T* y, int64_t y_row);
  // d_x = a d - b - c (x - mean)
  void (*norm_backward)(int64_t rows, int64_t n, const T* d, int64_t d_row, const T* x,
                        int64_t x_row, const C* mean, const C* a, const C* b, const C* c, T* d_x,
                        int64_t d_x_row);
  // y[n] = mean of four positions a, a + x_row, b, b + x_row, each max(0, . scale + shift) where
  // those are given.
  void (*pool)(int64_t n, const T* a, const T* b, int64_t x_row, const C* scale, const C* shift,
               T* y);
};

// Of the same instruction set as the Table called `name`.
template <typename T>
const ConvTable<T>& ConvKernels(const char* name);

}  // namespace contrail::model::kernels
