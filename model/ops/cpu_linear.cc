// Matrix products: how they are split among threads. The kernel sums every element of C in one
// order whatever the split, so results do not depend on the number of threads.
#include <cstdlib>
#include <new>

#include "common/error.h"
#include "model/ops/cpu_ops.h"

namespace contrail::model {
namespace {

struct FreeAligned {
  void operator()(void* p) const { std::free(p); }
};

template <typename T>
struct Operand {
  const T* data;
  int64_t row, col;
};
template <typename T>
Operand<T> Straight(View v) {
  return {v.as<T>(), v.stride, 1};
}
template <typename T>
Operand<T> Turned(View v) {
  return {v.as<T>(), 1, v.stride};
}

template <typename T>
kernels::Gemm<T> Product(Operand<T> a, Operand<T> b, View c, int64_t k) {
  kernels::Gemm<T> g;
  g.m = c.rows;
  g.n = c.cols;
  g.k = k;
  g.a = a.data;
  g.a_row = a.row;
  g.a_col = a.col;
  g.b = b.data;
  g.b_row = b.row;
  g.b_col = b.col;
  g.c = c.as<T>();
  g.c_row = c.stride;
  return g;
}

// The part of a product whose C is [rows] x [columns].
template <typename T>
kernels::Gemm<T> Part(kernels::Gemm<T> g, int64_t row, int64_t rows, int64_t column,
                      int64_t columns) {
  g.m = rows;
  g.n = columns;
  g.a += row * g.a_row;
  g.b += column * g.b_col;
  g.c += row * g.c_row + column;
  if (g.bias != nullptr) g.bias += column;
  if (g.residual != nullptr) g.residual += row * g.residual_row + column;
  if (g.other != nullptr) g.other += row * g.other_row + column;
  return g;
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

at::ScalarType Narrower(at::ScalarType a, at::ScalarType b) { return Is16Bit(a) ? a : b; }

// A 16-bit product of A and B as they are (straight) or transposed (turned).
enum class As { kStraight, kTurned };

kernels::MixedGemm MixedProduct(at::ScalarType type, View a, As a_as, View b, As b_as, View c,
                                int64_t k) {
  kernels::MixedGemm g;
  g.m = c.rows;
  g.n = c.cols;
  g.k = k;
  g.type = FormatOf(type);
  g.a = a.data;
  g.a_format = FormatOf(a.type);
  g.a_row = a_as == As::kStraight ? a.stride : 1;
  g.a_col = a_as == As::kStraight ? 1 : a.stride;
  g.b = b.data;
  g.b_format = FormatOf(b.type);
  g.b_row = b_as == As::kStraight ? b.stride : 1;
  g.b_col = b_as == As::kStraight ? 1 : b.stride;
  g.c = c.data;
  g.c_format = FormatOf(c.type);
  g.c_row = c.stride;
  return g;
}

template <typename T>
T* Advance(T* data, kernels::Format format, int64_t elements) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  if (data == nullptr) return nullptr;
  return static_cast<Byte*>(data) + elements * (format == kernels::Format::kFloat ? 4 : 2);
}

kernels::MixedGemm Part(kernels::MixedGemm g, int64_t row, int64_t rows, int64_t column,
                        int64_t columns) {
  g.m = rows;
  g.n = columns;
  g.a = Advance(g.a, g.a_format, row * g.a_row);
  g.b = Advance(g.b, g.b_format, column * g.b_col);
  g.c = Advance(g.c, g.c_format, row * g.c_row + column);
  if (g.bias != nullptr) g.bias += column;
  g.residual = Advance(g.residual, g.residual_format, row * g.residual_row + column);
  g.other = Advance(g.other, g.type, row * g.other_row + column);
  return g;
}

template <typename Table, typename Gemm>
void RunSplit(const Table& table, const Gemm& g) {
  if (g.m == 0 || g.n == 0) return;
  constexpr int64_t kWorthAThread = int64_t{1} << 19;  // multiply-adds: a few microseconds
  const int64_t threads = std::min<int64_t>(at::in_parallel_region() ? 1 : at::get_num_threads(),
                                            std::max<int64_t>(1, g.m * g.n * g.k / kWorthAThread));
  // Columns first: threads then pack different parts of B instead of the same. A that is turned is
  // packed too: then the longer of both is shared out.
  const int64_t sliver = 4 * table.lanes;
  const bool rows_first = g.a_col != 1 && g.m > g.n && g.m >= 48 * threads;
  const int64_t column_parts =
      rows_first ? 1 : std::min(threads, std::max<int64_t>(1, g.n / sliver));
  const int64_t columns = RoundUp(CeilDiv(g.n, column_parts), sliver);
  const int64_t row_parts = std::max<int64_t>(1, threads / CeilDiv(g.n, columns));
  const int64_t rows = RoundUp(CeilDiv(g.m, row_parts), 6);
  const int64_t across = CeilDiv(g.n, columns);
  const int64_t tasks = across * CeilDiv(g.m, rows);
  ParallelFor(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / across * rows, column = task % across * columns;
      table.gemm(Part(g, row, std::min(rows, g.m - row), column, std::min(columns, g.n - column)),
                 ThreadWorkspace().pack);
    }
  });
}

template <typename T>
void Run(const kernels::Table<T>& table, const kernels::Gemm<T>& g) {
  RunSplit(table, g);
}

}  // namespace

Workspace ThreadWorkspace(int64_t longest) {
  constexpr int64_t kRows = kRowBuffers * 4 * kLongestRow;
  const auto head_bytes = [](int64_t rows) { return kHeadFloats * 4 * rows * kernels::kHeadDim; };
  thread_local std::unique_ptr<void, FreeAligned> memory;
  thread_local int64_t room = 0;
  if (longest > room) {
    memory.reset();  // memory may not hold both
    room = 0;
    memory.reset(std::aligned_alloc(
        64, kernels::kPackBytes + AttentionBytes(longest) + head_bytes(longest) + kRows));
    if (memory == nullptr) throw std::bad_alloc();
    room = longest;
  }
  char* const pack = static_cast<char*>(memory.get());
  char* const attention = pack + kernels::kPackBytes;
  char* const head = attention + AttentionBytes(room);
  return {pack, attention, reinterpret_cast<float*>(head),
          reinterpret_cast<float*>(head + head_bytes(room)), room};
}

void CpuOpTable::RunMixed(const kernels::MixedGemm& g) const { RunSplit(mixed_, g); }

void CpuOpTable::Linear(View x, View w, View bias, View residual, View out) const {
  CONTRAIL_ASSERT(x.cols == w.cols && out.cols == w.rows && out.rows == x.rows);
  if (Is16Bit(w.type)) {
    kernels::MixedGemm g = MixedProduct(w.type, x, As::kStraight, w, As::kTurned, out, w.cols);
    g.bias = bias.as<float>();
    g.residual = residual.data;
    g.residual_format = FormatOf(residual.type);
    g.residual_row = residual.stride;
    return RunMixed(g);
  }
  ByType(x.type, [&]<typename T>() {
    kernels::Gemm<T> g = Product(Straight<T>(x), Turned<T>(w), out, w.cols);
    g.bias = bias.as<T>();
    g.residual = residual.as<T>();
    g.residual_row = residual.stride;
    Run(Kernels<T>(), g);
  });
}

void CpuOpTable::LinearActivation(View x, View w, View bias, Activation f, View pre,
                                  View act) const {
  CONTRAIL_ASSERT(x.cols == w.cols && pre.cols == w.rows && act.cols == w.rows);
  if (Is16Bit(w.type)) {
    CONTRAIL_ASSERT(act.type == w.type);
    kernels::MixedGemm g = MixedProduct(w.type, x, As::kStraight, w, As::kTurned, pre, w.cols);
    g.bias = bias.as<float>();
    g.epilogue = kernels::MixedGemm::Epilogue::kActivate;
    g.exact_gelu = f == Activation::kGelu;
    g.other = act.data;
    g.other_row = act.stride;
    return RunMixed(g);
  }
  ByType(x.type, [&]<typename T>() {
    kernels::Gemm<T> g = Product(Straight<T>(x), Turned<T>(w), pre, w.cols);
    g.bias = bias.as<T>();
    g.epilogue = kernels::Gemm<T>::Epilogue::kActivate;
    g.exact_gelu = f == Activation::kGelu;
    g.other = act.as<T>();
    g.other_row = act.stride;
    Run(Kernels<T>(), g);
  });
}

void CpuOpTable::LinearBackwardInput(View d_out, View w, View d_x) const {
  CONTRAIL_ASSERT(d_out.cols == w.rows && d_x.cols == w.cols && d_x.rows == d_out.rows);
  if (Is16Bit(w.type)) {
    return RunMixed(MixedProduct(w.type, d_out, As::kStraight, w, As::kStraight, d_x, w.rows));
  }
  ByType(w.type, [&]<typename T>() {
    Run(Kernels<T>(), Product(Straight<T>(d_out), Straight<T>(w), d_x, w.rows));
  });
}

void CpuOpTable::LinearActivationBackwardInput(View d_out, View w, Activation f, View pre,
                                               View d_pre) const {
  CONTRAIL_ASSERT(d_out.cols == w.rows && d_pre.cols == w.cols && pre.cols == w.cols);
  if (Is16Bit(w.type)) {
    CONTRAIL_ASSERT(pre.type == w.type);
    kernels::MixedGemm g =
        MixedProduct(w.type, d_out, As::kStraight, w, As::kStraight, d_pre, w.rows);
    g.epilogue = kernels::MixedGemm::Epilogue::kBackActivate;
    g.exact_gelu = f == Activation::kGelu;
    g.other = pre.data;
    g.other_row = pre.stride;
    return RunMixed(g);
  }
  ByType(w.type, [&]<typename T>() {
    kernels::Gemm<T> g = Product(Straight<T>(d_out), Straight<T>(w), d_pre, w.rows);
    g.epilogue = kernels::Gemm<T>::Epilogue::kBackActivate;
    g.exact_gelu = f == Activation::kGelu;
    g.other = pre.as<T>();
    g.other_row = pre.stride;
    Run(Kernels<T>(), g);
  });
}

void CpuOpTable::LinearBackwardWeight(View x, View d_out, View d_w, View d_bias) const {
  CONTRAIL_ASSERT(d_w.rows == d_out.cols && d_w.cols == x.cols && x.rows == d_out.rows);
  if (d_bias) AddColumnSums(d_out, d_bias);
  if (const at::ScalarType type = Narrower(x.type, d_out.type); Is16Bit(type)) {
    kernels::MixedGemm g = MixedProduct(type, d_out, As::kTurned, x, As::kStraight, d_w, x.rows);
    g.accumulate = true;
    return RunMixed(g);
  }
  ByType(x.type, [&]<typename T>() {
    kernels::Gemm<T> g = Product(Turned<T>(d_out), Straight<T>(x), d_w, x.rows);
    g.accumulate = true;
    Run(Kernels<T>(), g);
  });
}

void CpuOpTable::Project(View x, View w, View out) const {
  CONTRAIL_ASSERT(x.cols == w.rows && out.cols == w.cols && out.rows == x.rows);
  if (Is16Bit(w.type)) {
    return RunMixed(MixedProduct(w.type, x, As::kStraight, w, As::kStraight, out, w.rows));
  }
  ByType(x.type, [&]<typename T>() {
    Run(Kernels<T>(), Product(Straight<T>(x), Straight<T>(w), out, w.rows));
  });
}

void CpuOpTable::AddProduct(View x, View w, View out) const {
  CONTRAIL_ASSERT(x.cols == w.rows && out.cols == w.cols && out.rows == x.rows);
  if (Is16Bit(w.type)) {
    kernels::MixedGemm g = MixedProduct(w.type, x, As::kStraight, w, As::kStraight, out, w.rows);
    g.accumulate = true;
    return RunMixed(g);
  }
  ByType(x.type, [&]<typename T>() {
    kernels::Gemm<T> g = Product(Straight<T>(x), Straight<T>(w), out, w.rows);
    g.accumulate = true;
    Run(Kernels<T>(), g);
  });
}

void CpuOpTable::ProjectBackward(View x, View w, View d_out, View d_x, View d_w) const {
  CONTRAIL_ASSERT(x.cols == w.rows && d_out.cols == w.cols && d_w.rows == w.rows);
  if (Is16Bit(w.type)) {
    RunMixed(MixedProduct(w.type, d_out, As::kStraight, w, As::kTurned, d_x, w.cols));
    kernels::MixedGemm g = MixedProduct(w.type, x, As::kTurned, d_out, As::kStraight, d_w, x.rows);
    g.accumulate = true;
    return RunMixed(g);
  }
  ByType(x.type, [&]<typename T>() {
    Run(Kernels<T>(), Product(Straight<T>(d_out), Turned<T>(w), d_x, w.cols));
    kernels::Gemm<T> g = Product(Turned<T>(x), Straight<T>(d_out), d_w, x.rows);
    g.accumulate = true;
    Run(Kernels<T>(), g);
  });
}

const OpTable& CpuOps() {
  static const CpuOpTable table;
  return table;
}

}  // namespace contrail::model
