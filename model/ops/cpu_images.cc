// Convolution, pooling, and attention of one query an image: what ResNets need besides.
#include "common/error.h"
#include "model/ops/cpu_ops.h"

namespace contrail::model {
namespace {

template <typename T>
T* Row(View v, int64_t row) {
  return v.as<T>() + row * v.stride;
}

at::Tensor Tensor(View v, at::IntArrayRef shape) {
  CONTRAIL_ASSERT(v.stride == v.cols || v.rows == 1);
  return at::from_blob(v.data, shape, at::TensorOptions().dtype(v.type));
}

at::Tensor Images(View v, int64_t count, int64_t height, int64_t width) {
  return Tensor(v, {count, height, width, v.cols}).permute({0, 3, 1, 2});
}

int64_t Out(int64_t size, int64_t stride) { return (size + stride - 1) / stride; }

at::Tensor Weight(View w, int64_t channels) {
  CONTRAIL_ASSERT(w.cols == 9 * channels);
  return Tensor(w, {w.rows, channels, 3, 3});
}

}  // namespace

void CpuOpTable::Convolve(View x, const ImageShape& in, View w, int64_t stride, View out) const {
  Images(out, in.count, Out(in.height, stride), Out(in.width, stride))
      .copy_(at::convolution(Images(x, in.count, in.height, in.width), Weight(w, x.cols), {},
                             {stride, stride}, {1, 1}, {1, 1}, false, {0, 0}, 1));
}

void CpuOpTable::ConvolveBackward(View x, const ImageShape& in, View w, int64_t stride, View d_out,
                                  View d_x, View d_w) const {
  const bool inputs = static_cast<bool>(d_x);
  const auto [d_input, d_weight, unused] = at::convolution_backward(
      Images(d_out, in.count, Out(in.height, stride), Out(in.width, stride)),
      Images(x, in.count, in.height, in.width), Weight(w, x.cols), c10::nullopt, {stride, stride},
      {1, 1}, {1, 1}, false, {0, 0}, 1, {inputs, true, false});
  if (inputs) Images(d_x, in.count, in.height, in.width).copy_(d_input);
  Weight(d_w, x.cols).add_(d_weight);
}

void CpuOpTable::AveragePool(View x, const ImageShape& in, View out) const {
  const ImageShape to = in.Halved();
  ByType(x.type, [&]<typename T>() {
    ParallelFor(0, to.rows(), GrainOf(4 * x.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t column = r % to.width, line = r / to.width % to.height;
        const int64_t image = r / (to.width * to.height);
        const int64_t corner = (image * in.height + 2 * line) * in.width + 2 * column;
        const T *a = Row<T>(x, corner), *b = Row<T>(x, corner + 1);
        const T *c = Row<T>(x, corner + in.width), *d = Row<T>(x, corner + in.width + 1);
        T* y = Row<T>(out, r);
        for (int64_t i = 0; i < x.cols; ++i) y[i] = (a[i] + b[i] + c[i] + d[i]) * T{0.25};
      }
    });
  });
}

void CpuOpTable::AveragePoolBackward(View d_out, const ImageShape& in, View d_x) const {
  const ImageShape from = in.Halved();
  ByType(d_x.type, [&]<typename T>() {
    ParallelFor(0, in.rows(), GrainOf(d_x.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t column = r % in.width / 2, line = r / in.width % in.height / 2;
        const int64_t image = r / (in.width * in.height);
        T* to = Row<T>(d_x, r);
        if (column >= from.width || line >= from.height) {
          std::fill_n(to, d_x.cols, T{0});
          continue;
        }
        const T* d = Row<T>(d_out, (image * from.height + line) * from.width + column);
        for (int64_t i = 0; i < d_x.cols; ++i) to[i] = d[i] * T{0.25};
      }
    });
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
  const int64_t b = u.rows, c = tokens.cols, length = tokens.rows / b;
  const at::Tensor t = Tensor(tokens, {b, length, c});
  at::Tensor weights = Tensor(a, {b, heads, length}), mixed = Tensor(z, {b, heads, c});
  weights.copy_(at::softmax(at::bmm(Tensor(u, {b, heads, c}), t.transpose(1, 2)) * scale, -1));
  at::bmm_out(mixed, weights, t);
}

void CpuOpTable::FoldedAttentionBackward(View tokens, View u, int64_t heads, double scale, View a,
                                         View d_z, View d_tokens, View d_u) const {
  const int64_t b = u.rows, c = tokens.cols, length = tokens.rows / b;
  const at::Tensor t = Tensor(tokens, {b, length, c}), weights = Tensor(a, {b, heads, length});
  const at::Tensor d_mixed = Tensor(d_z, {b, heads, c}), query = Tensor(u, {b, heads, c});
  const at::Tensor d_weights = at::bmm(d_mixed, t.transpose(1, 2));
  const at::Tensor d_scores =
      weights * (d_weights - (weights * d_weights).sum(-1, /*keepdim=*/true)) * scale;
  at::Tensor d_query = Tensor(d_u, {b, heads, c}), d_t = Tensor(d_tokens, {b, length, c});
  at::bmm_out(d_query, d_scores, t);
  at::bmm_out(d_t, weights.transpose(1, 2), d_mixed);
  d_t.baddbmm_(d_scores.transpose(1, 2), query);
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
