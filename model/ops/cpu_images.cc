// Pooling, and attention of one query an image: what ResNets need besides.
#include "common/error.h"
#include "model/ops/cpu_norm.h"

namespace contrail::model {
namespace {

template <typename T>
T* Row(View v, int64_t row) {
  return v.as<T>() + row * v.stride;
}

// Row i of v [b, h n] as [h, n].
View ByHeads(View v, int64_t i, int64_t heads, int64_t n) {
  View row = v.Rows(i, 1);
  row.rows = heads;
  row.cols = row.stride = n;
  return row;
}

template <typename T>
void Softmax(T* x, int64_t n, double scale) {
  const T top = *std::max_element(x, x + n), factor = static_cast<T>(scale);
  T sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += x[j] = std::exp((x[j] - top) * factor);
  for (int64_t j = 0; j < n; ++j) x[j] /= sum;
}

}  // namespace

void CpuOpTable::AveragePool(const ConvInput& in, View out) const {
  const ImageShape& from = in.shape;
  const ImageShape to = from.Halved();
  CONTRAIL_ASSERT(in.x.rows == from.rows() && out.rows == to.rows());
  ByKernel(in.x.type, [&]<typename T>() {
    const kernels::ConvTable<T>& table = ConvKernels<T>();
    ParallelFor(0, to.rows(), GrainOf(4 * out.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t column = r % to.width, line = r / to.width % to.height;
        const int64_t image = r / (to.width * to.height);
        const int64_t corner = (image * from.height + 2 * line) * from.width + 2 * column;
        const auto state = [&](NormRow row) -> const kernels::Compute<T>* {
          if (in.norm == nullptr) return nullptr;
          return StateRow<kernels::Compute<T>>(*in.norm, image / (from.count / in.norm->groups),
                                               row);
        };
        table.pool(out.cols, Row<T>(in.x, corner), Row<T>(in.x, corner + from.width), in.x.stride,
                   state(NormRow::kScale), state(NormRow::kShift), Row<T>(out, r));
      }
    });
  });
}

void CpuOpTable::AveragePoolBackward(View d_out, const ImageShape& in, View d_x,
                                     const Through* through) const {
  const ImageShape from = in.Halved();
  const Rows16 convert(mixed_);
  ByKernel(d_x.type, [&]<typename T>() {
    using C = kernels::Compute<T>;
    std::optional<NormSums<T>> sums;
    if (through != nullptr) sums.emplace(*through->norm, ConvKernels<T>());
    const Pieces pieces(in, through != nullptr ? through->norm->groups : 1);
    ParallelFor(0, pieces.count(), 1, [&](int64_t begin, int64_t end) {
      C* const room = reinterpret_cast<C*>(ThreadWorkspace().rows);
      for (int64_t i = begin; i < end; ++i) {
        const Piece piece = pieces.At(i);
        for (int64_t r = piece.row; r < piece.row + piece.rows; ++r) {
          const int64_t column = r % in.width / 2, line = r / in.width % in.height / 2;
          const int64_t image = r / (in.width * in.height);
          const int64_t source = (image * from.height + line) * from.width + column;
          const bool outside = column >= from.width || line >= from.height;
          const C* d = nullptr;
          C* to = nullptr;
          if constexpr (std::is_same_v<T, C>) {
            d = outside ? nullptr : Row<T>(d_out, source);
            to = Row<T>(d_x, r);
          } else {
            d = outside ? nullptr : convert.ToFloat(d_out, source, 0, d_x.cols, room);
            to = room;
          }
          for (int64_t c = 0; c < d_x.cols; ++c) to[c] = outside ? C{0} : d[c] * C{0.25};
          if constexpr (!std::is_same_v<T, C>) convert.FromFloat(to, d_x, r, 0, d_x.cols);
        }
        if (sums) sums->AddThrough(*through, d_x, i, piece.row, piece.rows, 0, d_x.cols);
      }
    });
    if (sums) sums->FinishThrough();
  });
}

void CpuOpTable::PoolTokens(View x, int64_t count, View pos, View tokens) const {
  const int64_t positions = pos.rows - 1;
  const Rows16 convert(mixed_);
  ByType(pos.type, [&]<typename C>() {
    ParallelFor(0, count, 1, [&](int64_t begin, int64_t end) {
      float* const room = ThreadWorkspace().rows;
      const auto read = [&](int64_t row) -> const C* {
        if constexpr (std::is_same_v<C, float>) return convert.ToFloat(x, row, 0, x.cols, room);
        return Row<C>(x, row);
      };
      const auto target = [&](int64_t row, float* memory) -> C* {
        if constexpr (std::is_same_v<C, float>) return convert.Target(tokens, row, 0, memory);
        return Row<C>(tokens, row);
      };
      const auto done = [&](const C* from, int64_t row) {
        if constexpr (std::is_same_v<C, float>) convert.FromFloat(from, tokens, row, 0, x.cols);
      };
      for (int64_t b = begin; b < end; ++b) {
        const int64_t first = b * (positions + 1);
        C* mean = target(first, room + kLongestRow);
        std::fill_n(mean, x.cols, C{0});
        for (int64_t j = 0; j < positions; ++j) {
          const C* in = read(b * positions + j);
          const C* at_j = Row<C>(pos, j + 1);
          C* out = target(first + j + 1, room + 2 * kLongestRow);
          for (int64_t c = 0; c < x.cols; ++c) {
            mean[c] += in[c];
            out[c] = in[c] + at_j[c];
          }
          done(out, first + j + 1);
        }
        const C share = C{1} / static_cast<C>(positions);
        for (int64_t c = 0; c < x.cols; ++c) mean[c] = mean[c] * share + Row<C>(pos, 0)[c];
        done(mean, first);
      }
    });
  });
}

// The tokens' gradient is a sum and never 16-bit.
void CpuOpTable::PoolTokensBackward(View d_tokens, int64_t count, View d_x, View d_pos) const {
  const int64_t positions = d_pos.rows - 1;
  const Rows16 convert(mixed_);
  ByType(d_tokens.type, [&]<typename T>() {
    ParallelFor(0, positions + 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        for (int64_t b = 0; b < count; ++b) {
          const T* d = Row<T>(d_tokens, b * (positions + 1) + j);
          for (int64_t c = 0; c < d_x.cols; ++c) Row<T>(d_pos, j)[c] += d[c];
        }
      }
    });
    const T share = T{1} / static_cast<T>(positions);
    ParallelFor(0, count * positions, GrainOf(d_x.cols), [&](int64_t begin, int64_t end) {
      T* const room = reinterpret_cast<T*>(ThreadWorkspace().rows);
      for (int64_t r = begin; r < end; ++r) {
        const int64_t first = r / positions * (positions + 1);
        const T* mean = Row<T>(d_tokens, first);
        const T* d = Row<T>(d_tokens, first + r % positions + 1);
        T* to = Is16Bit(d_x.type) ? room : Row<T>(d_x, r);
        for (int64_t c = 0; c < d_x.cols; ++c) to[c] = d[c] + mean[c] * share;
        if constexpr (std::is_same_v<T, float>) convert.FromFloat(to, d_x, r, 0, d_x.cols);
      }
    });
  });
}

void CpuOpTable::FoldedAttention(View tokens, View u, int64_t heads, double scale, View a,
                                 View z) const {
  const int64_t c = tokens.cols, length = tokens.rows / u.rows;
  ByType(a.type, [&]<typename T>() {
    ParallelFor(0, u.rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const View t = tokens.Rows(i * length, length), weights = ByHeads(a, i, heads, length);
        Linear(ByHeads(u, i, heads, c), t, {}, {}, weights);
        for (int64_t h = 0; h < heads; ++h) Softmax(Row<T>(weights, h), length, scale);
        Project(weights, t, ByHeads(z, i, heads, c));
      }
    });
  });
}

// With p = a: d_a = d_z t^T, d_s = p (d_a - <p, d_a>) scale, d_u = d_s t, d_t = p^T d_z + d_s^T u.
void CpuOpTable::FoldedAttentionBackward(View tokens, View u, int64_t heads, double scale, View a,
                                         View d_z, View d_tokens, View d_u) const {
  const int64_t c = tokens.cols, length = tokens.rows / u.rows;
  ByType(a.type, [&]<typename T>() {
    CONTRAIL_ASSERT(heads * length * static_cast<int64_t>(sizeof(T)) <= kUsualAttentionBytes);
    ParallelFor(0, u.rows, 1, [&](int64_t begin, int64_t end) {
      const View d_s{ThreadWorkspace().attention, heads, length, length, a.type};
      for (int64_t i = begin; i < end; ++i) {
        const View t = tokens.Rows(i * length, length), d_t = d_tokens.Rows(i * length, length);
        const View weights = ByHeads(a, i, heads, length), d_mixed = ByHeads(d_z, i, heads, c);
        Linear(d_mixed, t, {}, {}, d_s);
        for (int64_t h = 0; h < heads; ++h) {
          const T* p = Row<T>(weights, h);
          T* d = Row<T>(d_s, h);
          T dot = 0;
          for (int64_t j = 0; j < length; ++j) dot += p[j] * d[j];
          for (int64_t j = 0; j < length; ++j) d[j] = p[j] * (d[j] - dot) * static_cast<T>(scale);
        }
        Project(d_s, t, ByHeads(d_u, i, heads, c));
        Zero(d_t);
        LinearBackwardWeight(d_mixed, weights, d_t, {});
        LinearBackwardWeight(ByHeads(u, i, heads, c), d_s, d_t, {});
      }
    });
  });
}

void CpuOpTable::Add(View from, View to) const {
  const Rows16 convert(mixed_);
  ByType(Is16Bit(to.type) ? at::kFloat : to.type, [&]<typename T>() {
    ParallelFor(0, to.rows, GrainOf(to.cols), [&](int64_t begin, int64_t end) {
      float* const room = ThreadWorkspace().rows;
      for (int64_t r = begin; r < end; ++r) {
        if constexpr (std::is_same_v<T, float>) {
          const float* a = convert.ToFloat(from, r, 0, to.cols, room);
          const float* b = convert.ToFloat(to, r, 0, to.cols, room + kLongestRow);
          float* sum = convert.Target(to, r, 0, room);
          for (int64_t c = 0; c < to.cols; ++c) sum[c] = a[c] + b[c];
          convert.FromFloat(sum, to, r, 0, to.cols);
        } else {
          for (int64_t c = 0; c < to.cols; ++c) Row<T>(to, r)[c] += Row<T>(from, r)[c];
        }
      }
    });
  });
}

}  // namespace contrail::model
