// Batch norm over groups of images. A piece of rows sums in fp32 (fp64 in proofs), pieces are added
// in fp64 and in order.
#include "common/error.h"
#include "model/ops/cpu_norm.h"

namespace contrail::model {
namespace {

constexpr double kEps = 1e-5;

template <typename T>
std::vector<T>& SumsOfThisThread() {
  thread_local std::vector<T> sums;
  return sums;
}

// f(piece, begin row, rows) for pieces of a norm, in parallel.
template <typename F>
void EachPiece(const Pieces& pieces, int64_t channels, const F& f) {
  ParallelFor(0, pieces.count(), GrainOf(kernels::kPieceRows * channels),
              [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) f(i, pieces.At(i));
              });
}

}  // namespace

template <typename T>
NormSums<T>::NormSums(const BatchNorm& norm, const kernels::ConvTable<T>& kernels)
    : norm_(norm), kernels_(kernels), pieces_(norm.shape, norm.groups) {
  CONTRAIL_ASSERT(norm.x.rows == norm.shape.rows() && norm.shape.count % norm.groups == 0 &&
                  norm.state.rows == BatchNorm::kStateRows * norm.groups &&
                  norm.state.cols == norm.x.cols);
  std::vector<C>& memory = SumsOfThisThread<C>();
  const auto size = static_cast<size_t>(2 * pieces_.count() * norm.x.cols);
  if (memory.size() < size) memory.resize(size);
  std::fill_n(memory.begin(), size, C{0});
  sums_ = memory.data();
}

template <typename T>
void NormSums<T>::AddStatistics(int64_t piece, int64_t row, int64_t rows, int64_t column,
                                int64_t columns) {
  // About the piece's first row: a mean far from 0 would cost the variance its digits.
  kernels_.norm_sums(rows, columns, RowOf<T>(norm_.x, row) + column, norm_.x.stride,
                     RowOf<T>(norm_.x, pieces_.At(piece).row) + column, Sum(piece, 0) + column,
                     Sum(piece, 1) + column);
}

template <typename T>
void NormSums<T>::AddThrough(const Through& through, View d, int64_t piece, int64_t row,
                             int64_t rows, int64_t column, int64_t columns) {
  const int64_t group = piece / pieces_.per_group();
  kernels::NormThrough<T> pass;
  pass.x = RowOf<T>(norm_.x, row) + column;
  pass.x_row = norm_.x.stride;
  pass.mean = StateRow<C>(norm_, group, NormRow::kMean) + column;
  if (through.relu == Through::Relu::kOutput) {
    pass.y = RowOf<T>(through.y, row) + column;
    pass.y_row = through.y.stride;
  } else if (through.relu == Through::Relu::kOwn) {
    pass.scale = StateRow<C>(norm_, group, NormRow::kScale) + column;
    pass.shift = StateRow<C>(norm_, group, NormRow::kShift) + column;
  }
  kernels_.norm_through(rows, columns, pass, RowOf<T>(d, row) + column, d.stride,
                        Sum(piece, 0) + column, Sum(piece, 1) + column);
}

// Chan, Golub and LeVeque 1979: a piece's mean and squares about it, put together.
template <typename T>
void NormSums<T>::FinishStatistics() {
  const int64_t channels = norm_.x.cols, per_group = pieces_.per_group();
  for (int64_t group = 0; group < pieces_.groups(); ++group) {
    const auto state = [&](NormRow row) { return StateRow<C>(norm_, group, row); };
    ParallelFor(0, channels, GrainOf(4 * per_group), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        double count = 0, mean = 0, squares = 0;
        for (int64_t i = group * per_group; i < (group + 1) * per_group; ++i) {
          const Piece piece = pieces_.At(i);
          const auto n = static_cast<double>(piece.rows);
          const double offset = static_cast<double>(Sum(i, 0)[c]) / n;
          const double own = static_cast<double>(Number(RowOf<T>(norm_.x, piece.row)[c])) + offset;
          const double apart = own - mean;
          squares += std::max(0.0, static_cast<double>(Sum(i, 1)[c]) - n * offset * offset) +
                     apart * apart * count * n / (count + n);
          mean += apart * n / (count + n);
          count += n;
        }
        const double variance = squares / count, rstd = 1.0 / std::sqrt(variance + kEps);
        const double a = rstd * static_cast<double>(norm_.gain.as<C>()[c]);
        state(NormRow::kMean)[c] = static_cast<C>(mean);
        state(NormRow::kRstd)[c] = static_cast<C>(rstd);
        state(NormRow::kVariance)[c] = static_cast<C>(variance);
        state(NormRow::kScale)[c] = static_cast<C>(a);
        state(NormRow::kShift)[c] =
            static_cast<C>(static_cast<double>(norm_.bias.as<C>()[c]) - mean * a);
      }
    });
  }
}

template <typename T>
void NormSums<T>::FinishThrough() {
  const int64_t channels = norm_.x.cols, per_group = pieces_.per_group();
  const double n = static_cast<double>(norm_.x.rows) / static_cast<double>(norm_.groups);
  ParallelFor(0, channels, GrainOf(4 * pieces_.count()), [&](int64_t begin, int64_t end) {
    for (int64_t group = 0; group < pieces_.groups(); ++group) {
      const auto state = [&](NormRow row) { return StateRow<C>(norm_, group, row); };
      for (int64_t c = begin; c < end; ++c) {
        double first = 0, second = 0;
        for (int64_t i = group * per_group; i < (group + 1) * per_group; ++i) {
          first += static_cast<double>(Sum(i, 0)[c]);
          second += static_cast<double>(Sum(i, 1)[c]);
        }
        const auto rstd = static_cast<double>(state(NormRow::kRstd)[c]);
        const double a = rstd * static_cast<double>(norm_.gain.as<C>()[c]);
        norm_.d_bias.as<C>()[c] += static_cast<C>(first);
        norm_.d_gain.as<C>()[c] += static_cast<C>(second * rstd);
        state(NormRow::kA)[c] = static_cast<C>(a);
        state(NormRow::kB)[c] = static_cast<C>(a * first / n);
        state(NormRow::kC)[c] = static_cast<C>(a * second * rstd * rstd / n);
      }
    }
  });
}

template class NormSums<float>;
template class NormSums<double>;
template class NormSums<kernels::BFloat16>;
template class NormSums<kernels::Half>;

void CpuOpTable::BatchNormFixed(const BatchNorm& norm, View mean, View variance) const {
  CONTRAIL_ASSERT(norm.groups == 1);
  ByType(norm.state.type, [&]<typename T>() {
    const auto state = [&](NormRow row) { return StateRow<T>(norm, 0, row); };
    for (int64_t c = 0; c < norm.state.cols; ++c) {
      const auto m = static_cast<double>(mean.as<T>()[c]);
      const auto v = static_cast<double>(variance.as<T>()[c]);
      const double rstd = 1.0 / std::sqrt(v + kEps);
      const double a = rstd * static_cast<double>(norm.gain.as<T>()[c]);
      state(NormRow::kMean)[c] = static_cast<T>(m);
      state(NormRow::kRstd)[c] = static_cast<T>(rstd);
      state(NormRow::kVariance)[c] = static_cast<T>(v);
      state(NormRow::kScale)[c] = static_cast<T>(a);
      state(NormRow::kShift)[c] = static_cast<T>(static_cast<double>(norm.bias.as<T>()[c]) - m * a);
    }
  });
}

void CpuOpTable::BatchNormAdd(const BatchNorm& norm, View residual, const BatchNorm* residual_norm,
                              View y) const {
  ByKernel(norm.x.type, [&]<typename T>() {
    const kernels::ConvTable<T>& table = ConvKernels<T>();
    EachPiece(Pieces(norm.shape, norm.groups), norm.x.cols, [&](int64_t, const Piece& p) {
      const auto row = [&](const BatchNorm* of, NormRow which) -> const kernels::Compute<T>* {
        return of == nullptr ? nullptr : StateRow<kernels::Compute<T>>(*of, p.group, which);
      };
      table.norm_add(p.rows, norm.x.cols, RowOf<T>(norm.x, p.row), norm.x.stride,
                     row(&norm, NormRow::kScale), row(&norm, NormRow::kShift),
                     residual ? RowOf<T>(residual, p.row) : nullptr, residual.stride,
                     row(residual_norm, NormRow::kScale), row(residual_norm, NormRow::kShift),
                     RowOf<T>(y, p.row), y.stride);
    });
  });
}

void CpuOpTable::BatchNormThrough(View d, const Through& through) const {
  ByKernel(d.type, [&]<typename T>() {
    NormSums<T> sums(*through.norm, ConvKernels<T>());
    EachPiece(sums.pieces(), d.cols, [&](int64_t i, const Piece& p) {
      sums.AddThrough(through, d, i, p.row, p.rows, 0, d.cols);
    });
    sums.FinishThrough();
  });
}

void CpuOpTable::BatchNormBackward(const BatchNorm& norm, View d, View d_x) const {
  ByKernel(d.type, [&]<typename T>() {
    const kernels::ConvTable<T>& table = ConvKernels<T>();
    EachPiece(Pieces(norm.shape, norm.groups), d.cols, [&](int64_t, const Piece& p) {
      const auto state = [&](NormRow row) {
        return StateRow<kernels::Compute<T>>(norm, p.group, row);
      };
      table.norm_backward(p.rows, d.cols, RowOf<T>(d, p.row), d.stride, RowOf<T>(norm.x, p.row),
                          norm.x.stride, state(NormRow::kMean), state(NormRow::kA),
                          state(NormRow::kB), state(NormRow::kC), RowOf<T>(d_x, p.row), d_x.stride);
    });
  });
}

void CpuOpTable::CollectStatistics(const BatchNorm& norm, View sums) const {
  const int64_t rows = norm.shape.rows() / norm.groups;
  CONTRAIL_ASSERT(rows > 1);  // or the unbiased variance is 0 / 0
  ByType(norm.state.type, [&]<typename T>() {
    const T unbiased = static_cast<T>(static_cast<double>(rows) / static_cast<double>(rows - 1));
    for (int64_t group = 0; group < norm.groups; ++group) {
      const T* mean = StateRow<T>(norm, group, NormRow::kMean);
      const T* variance = StateRow<T>(norm, group, NormRow::kVariance);
      for (int64_t c = 0; c < sums.cols; ++c) {
        RowOf<T>(sums, 0)[c] += mean[c];
        RowOf<T>(sums, 1)[c] += variance[c] * unbiased;
      }
    }
  });
}

void CpuOpTable::FoldStatistics(View sums, int64_t groups, double momentum, View mean,
                                View variance) const {
  ByType(sums.type, [&]<typename T>() {
    const T m = static_cast<T>(momentum), per = static_cast<T>(1.0 / static_cast<double>(groups));
    for (int64_t c = 0; c < sums.cols; ++c) {
      mean.as<T>()[c] += m * (RowOf<T>(sums, 0)[c] * per - mean.as<T>()[c]);
      variance.as<T>()[c] += m * (RowOf<T>(sums, 1)[c] * per - variance.as<T>()[c]);
      RowOf<T>(sums, 0)[c] = RowOf<T>(sums, 1)[c] = 0;
    }
  });
}

}  // namespace contrail::model
