#pragma once
// The CPU's inner loops as a table of plain functions, compiled once for each instruction set and
// chosen at start. No ATen, no threads and no allocation: the caller splits the work and owns the
// memory. T is float or double.
//
// Every result is a fixed function of its inputs on one instruction set: how the caller splits rows
// or columns among threads never changes the order of a sum.

#include <cstdint>

namespace contrail::model::kernels {

// One tile of C[m, n] = A[m, k] B[k, n] with everything that can be done while C is in registers
// or in the first-level cache. A and B are read through strides, so transposes cost nothing to ask
// for; A must be contiguous along one of its dimensions.
template <typename T>
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  int64_t a_row = 0, a_col = 0;  // elements between A's rows, columns
  const T* b = nullptr;
  int64_t b_row = 0, b_col = 0;
  T* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;      // C += instead of C =
  const T* bias = nullptr;      // [n], added once
  const T* residual = nullptr;  // [m, n], added once
  int64_t residual_row = 0;
  enum class Epilogue { kNone, kActivate, kBackActivate } epilogue = Epilogue::kNone;
  bool exact_gelu = false;  // else x sigmoid(1.702 x)
  T* other = nullptr;       // kActivate: [m, n] = f(C); kBackActivate: C *= f'(other)
  int64_t other_row = 0;
};

// What memory holds.
enum class Format { kFloat, kBFloat16, kHalf };

// 16-bit numbers in memory, and what numbers stored as T are computed in.
struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};
template <typename T>
struct ComputedIn {
  using Type = T;
};
template <>
struct ComputedIn<BFloat16> {
  using Type = float;
};
template <>
struct ComputedIn<Half> {
  using Type = float;
};
template <typename T>
using Compute = typename ComputedIn<T>::Type;

// The same with 16-bit operands and fp32 sums: C[m, n] = A[m, k] B[k, n] where A and B are numbers
// of `type`, bf16 or fp16. Either may be stored as fp32, which is rounded to the type on its way.
// Strides count elements; A and B must be contiguous along one of their dimensions.
struct MixedGemm {
  int64_t m = 0, n = 0, k = 0;
  Format type = Format::kBFloat16;
  const void* a = nullptr;
  Format a_format = Format::kBFloat16;
  int64_t a_row = 0, a_col = 0;
  const void* b = nullptr;
  Format b_format = Format::kBFloat16;
  int64_t b_row = 0, b_col = 0;
  void* c = nullptr;
  Format c_format = Format::kBFloat16;
  int64_t c_row = 0;
  bool accumulate = false;         // C += instead of C =: C is fp32 and nothing below is set
  const float* bias = nullptr;     // [n]
  const void* residual = nullptr;  // [m, n]; may be C
  Format residual_format = Format::kFloat;
  int64_t residual_row = 0;
  enum class Epilogue { kNone, kActivate, kBackActivate } epilogue = Epilogue::kNone;
  bool exact_gelu = false;
  void* other = nullptr;  // [m, n] of `type`; kActivate: = f(C as stored), kBackActivate: read
  int64_t other_row = 0;
};

// Memory one thread needs while it runs a Gemm; 64-byte aligned. An attention's grows with its
// sequence: see attention.h.
inline constexpr int64_t kPackBytes = int64_t{1} << 20;
inline constexpr int64_t kQueryRows = 48;  // queries whose scores are held at a time
inline constexpr int64_t kHeadDim = 128;   // at most

// One sequence and one head of attention.
template <typename T>
struct Head {
  int64_t queries = 0, keys = 0, dim = 0;
  bool causal = false;  // query i sees keys 0..i
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  int64_t q_row = 0, k_row = 0, v_row = 0;
  T *out = nullptr, *lse = nullptr;  // read by the backward
  int64_t out_row = 0, lse_row = 0;
  const T* d_out = nullptr;
  int64_t d_out_row = 0;
  T *d_q = nullptr, *d_k = nullptr, *d_v = nullptr;
  int64_t d_q_row = 0, d_k_row = 0, d_v_row = 0;
};

template <typename T>
struct Table {
  const char* name;  // "avx512"
  int64_t lanes;     // T's in a register

  void (*gemm)(const Gemm<T>& gemm, void* pack);
  void (*attention)(const Head<T>& head, void* pack, void* scratch);
  void (*attention_backward)(const Head<T>& head, void* pack, void* scratch);

  // Rows [m, n]; stats are (mean, rstd) pairs.
  void (*layer_norm)(int64_t m, int64_t n, const T* x, int64_t x_row, const T* gain, const T* bias,
                     T* y, int64_t y_row, T* stats);
  void (*layer_norm_backward)(int64_t m, int64_t n, const T* x, int64_t x_row, const T* stats,
                              const T* gain, const T* d_y, int64_t d_y_row, bool add, T* d_x,
                              int64_t d_x_row);
  // Of n adjacent columns, over all m rows.
  void (*layer_norm_gains)(int64_t m, int64_t n, const T* x, int64_t x_row, const T* stats,
                           const T* d_y, int64_t d_y_row, T* d_gain, T* d_bias);
  void (*column_sums)(int64_t m, int64_t n, const T* x, int64_t x_row, T* sums);  // +=

  void (*normalize)(int64_t m, int64_t n, const T* x, int64_t x_row, T* y, int64_t y_row, T* norms);
  void (*normalize_backward)(int64_t m, int64_t n, const T* y, int64_t y_row, const T* norms,
                             const T* d_y, int64_t d_y_row, T* d_x, int64_t d_x_row);
  void (*add)(int64_t n, const T* a, const T* b, T* out);  // out = a + b
  void (*activate)(int64_t n, const T* x, bool exact_gelu, T* y);
};

// What is there for 16-bit formats. Everything but products is done in fp32, a row at a time.
struct MixedTable {
  const char* name;
  int64_t lanes;     // fp32's
  bool native_bf16;  // products of bf16 run on the processor's own, at twice fp32's rate or so

  void (*gemm)(const MixedGemm& gemm, void* pack);
  void (*widen)(Format format, int64_t n, const uint16_t* from, float* to);
  void (*narrow)(Format format, int64_t n, const float* from, uint16_t* to);  // to nearest even
};

// The widest that this processor runs.
template <typename T>
const Table<T>& Best();
const MixedTable& BestMixed();

// One by name ("avx512", "avx2", "baseline"; for MixedTable "avx512bf16", too) for tests and
// benchmarks, nullptr where the processor lacks it.
template <typename T>
const Table<T>* Named(const char* name);
const MixedTable* NamedMixed(const char* name);

}  // namespace contrail::model::kernels
