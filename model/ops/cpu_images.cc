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
  ByType(in.x.type, [&]<typename T>() {
    const kernels::ConvTable<T>& table = ConvKernels<T>();
    ParallelFor(0, to.rows(), GrainOf(4 * out.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t column = r % to.width, line = r / to.width % to.height;
        const int64_t image = r / (to.width * to.height);
        const int64_t corner = (image * from.height + 2 * line) * from.width + 2 * column;
        const auto state = [&](NormRow row) -> const T* {
          if (in.norm == nullptr) return nullptr;
          return StateRow<T>(*in.norm, image / (from.count / in.norm->groups), row);
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
  ByType(d_x.type, [&]<typename T>() {
    std::optional<NormSums<T>> sums;
    if (through != nullptr) sums.emplace(*through->norm, ConvKernels<T>());
    const Pieces pieces(in, through != nullptr ? through->norm->groups : 1);
    ParallelFor(0, pieces.count(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Piece piece = pieces.At(i);
        for (int64_t r = piece.row; r < piece.row + piece.rows; ++r) {
          const int64_t column = r % in.width / 2, line = r / in.width % in.height / 2;
          const int64_t image = r / (in.width * in.height);
          T* to = Row<T>(d_x, r);
          if (column >= from.width || line >= from.height) {
            std::fill_n(to, d_x.cols, T{0});
            continue;
          }
          const T* d = Row<T>(d_out, (image * from.height + line) * from.width + column);
          for (int64_t c = 0; c < d_x.cols; ++c) to[c] = d[c] * T{0.25};
        }
        if (sums) sums->AddThrough(*through, d_x, i, piece.row, piece.rows, 0, d_x.cols);
      }
    });
    if (sums) sums->FinishThrough();
  });
}

void CpuOpTable::PoolTokens(View x, int64_t count, View pos, View tokens) const {
  const int64_t positions = pos.rows - 1;
  ByType(x.type, [&]<typename T>() {
    ParallelFor(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        T* mean = Row<T>(tokens, b * (positions + 1));
        std::fill_n(mean, x.cols, T{0});
        for (int64_t j = 0; j < positions; ++j) {
          const T* in = Row<T>(x, b * positions + j);
          const T* at_j = Row<T>(pos, j + 1);
          T* out = Row<T>(tokens, b * (positions + 1) + j + 1);
          for (int64_t c = 0; c < x.cols; ++c) {
            mean[c] += in[c];
            out[c] = in[c] + at_j[c];
          }
        }
        const T share = T{1} / static_cast<T>(positions);
        for (int64_t c = 0; c < x.cols; ++c) mean[c] = mean[c] * share + Row<T>(pos, 0)[c];
      }
    });
  });
}

void CpuOpTable::PoolTokensBackward(View d_tokens, int64_t count, View d_x, View d_pos) const {
  const int64_t positions = d_pos.rows - 1;
  ByType(d_x.type, [&]<typename T>() {
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
      for (int64_t r = begin; r < end; ++r) {
        const int64_t first = r / positions * (positions + 1);
        const T* mean = Row<T>(d_tokens, first);
        const T* d = Row<T>(d_tokens, first + r % positions + 1);
        T* to = Row<T>(d_x, r);
        for (int64_t c = 0; c < d_x.cols; ++c) to[c] = d[c] + mean[c] * share;
      }
    });
  });
}

void CpuOpTable::FoldedAttention(View tokens, View u, int64_t heads, double scale, View a,
                                 View z) const {
  const int64_t c = tokens.cols, length = tokens.rows / u.rows;
  ByType(tokens.type, [&]<typename T>() {
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
  ByType(tokens.type, [&]<typename T>() {
    CONTRAIL_ASSERT(heads * length * static_cast<int64_t>(sizeof(T)) <= kernels::kAttentionBytes);
    ParallelFor(0, u.rows, 1, [&](int64_t begin, int64_t end) {
      const View d_s{ThreadWorkspace().attention, heads, length, length, tokens.type};
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
  ByType(to.type, [&]<typename T>() {
    ParallelFor(0, to.rows, GrainOf(to.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* in = Row<T>(from, r);
        T* out = Row<T>(to, r);
        for (int64_t c = 0; c < to.cols; ++c) out[c] += in[c];
      }
    });
  });
}

}  // namespace contrail::model
