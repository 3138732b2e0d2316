// Batch norm over groups of rows. Sums run over chunks of rows of a fixed size, whose results are
// added in order, so they do not depend on the number of threads.
#include "common/error.h"
#include "model/ops/cpu_ops.h"

namespace contrail::model {
namespace {

constexpr double kEps = 1e-5;
constexpr int64_t kChunkRows = 256;

template <typename T>
T* Row(View v, int64_t row) {
  return v.as<T>() + row * v.stride;
}

// Two sums a channel over the rows of each group: add(row, first, second) for each row, in one
// pass; total(group, first, second) at the end, in fp64 and in order.
template <typename T, typename Add, typename Total>
void SumGroups(int64_t rows, int64_t groups, int64_t channels, const Add& add, const Total& total) {
  CONTRAIL_ASSERT(groups > 0 && rows % groups == 0 && rows > 0);
  const int64_t n = rows / groups, chunks = (n + kChunkRows - 1) / kChunkRows;
  std::vector<T> partial(static_cast<size_t>(groups * chunks * 2 * channels));
  ParallelFor(0, groups * chunks, GrainOf(n / chunks * channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* first = partial.data() + i * 2 * channels;
      const int64_t group = i / chunks, start = i % chunks * kChunkRows;
      for (int64_t r = start; r < std::min(n, start + kChunkRows); ++r) {
        add(group, group * n + r, first, first + channels);
      }
    }
  });
  std::vector<double> sums(static_cast<size_t>(2 * channels));
  for (int64_t group = 0; group < groups; ++group) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const T* part = partial.data() + (group * chunks + chunk) * 2 * channels;
      for (int64_t c = 0; c < 2 * channels; ++c) sums[static_cast<size_t>(c)] += part[c];
    }
    total(group, sums.data(), sums.data() + channels);
  }
}

// y = f(x scale + shift + residual), scale and shift [groups, C].
template <typename T>
void Apply(View x, const std::vector<T>& scale, const std::vector<T>& shift, View residual,
           bool relu, int64_t groups, View y) {
  const int64_t channels = x.cols, n = x.rows / groups;
  ParallelFor(0, x.rows, GrainOf(channels), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* in = Row<T>(x, r);
      const T* a = scale.data() + r / n * channels;
      const T* b = shift.data() + r / n * channels;
      T* out = Row<T>(y, r);
      const T floor = relu ? T{0} : -std::numeric_limits<T>::infinity();
      // Written so that a NaN stays one.
      const auto f = [floor](T v) { return v < floor ? floor : v; };
      if (residual) {
        const T* add = Row<T>(residual, r);
        for (int64_t c = 0; c < channels; ++c) out[c] = f(in[c] * a[c] + b[c] + add[c]);
      } else {
        for (int64_t c = 0; c < channels; ++c) out[c] = f(in[c] * a[c] + b[c]);
      }
    }
  });
}

}  // namespace

void CpuOpTable::BatchNorm(View x, View gain, View bias, View residual, bool relu, int64_t groups,
                           View y, View stats) const {
  ByType(x.type, [&]<typename T>() {
    const int64_t channels = x.cols, n = x.rows / groups;
    std::vector<T> scale(static_cast<size_t>(groups * channels)), shift(scale.size());
    // About the group's first row: a mean far from 0 would cost the variance its digits.
    SumGroups<T>(
        x.rows, groups, channels,
        [&](int64_t group, int64_t row, T* __restrict first, T* __restrict second) {
          const T* in = Row<T>(x, row);
          const T* pivot = Row<T>(x, group * n);
          for (int64_t c = 0; c < channels; ++c) {
            const T d = in[c] - pivot[c];
            first[c] += d;
            second[c] += d * d;
          }
        },
        [&](int64_t group, const double* first, const double* second) {
          const T* pivot = Row<T>(x, group * n);
          for (int64_t c = 0; c < channels; ++c) {
            const double offset = first[c] / static_cast<double>(n);
            const double mean = offset + static_cast<double>(pivot[c]);
            const double variance =
                std::max(0.0, second[c] / static_cast<double>(n) - offset * offset);
            const double rstd = 1.0 / std::sqrt(variance + kEps);
            Row<T>(stats, 3 * group)[c] = static_cast<T>(mean);
            Row<T>(stats, 3 * group + 1)[c] = static_cast<T>(rstd);
            Row<T>(stats, 3 * group + 2)[c] = static_cast<T>(variance);
            const double a = rstd * static_cast<double>(gain.as<T>()[c]);
            scale[static_cast<size_t>(group * channels + c)] = static_cast<T>(a);
            shift[static_cast<size_t>(group * channels + c)] =
                static_cast<T>(static_cast<double>(bias.as<T>()[c]) - mean * a);
          }
        });
    Apply<T>(x, scale, shift, residual, relu, groups, y);
  });
}

void CpuOpTable::BatchNormFixed(View x, View gain, View bias, View mean, View variance,
                                View residual, bool relu, View y) const {
  ByType(x.type, [&]<typename T>() {
    std::vector<T> scale(static_cast<size_t>(x.cols)), shift(scale.size());
    for (int64_t c = 0; c < x.cols; ++c) {
      const double a = static_cast<double>(gain.as<T>()[c]) /
                       std::sqrt(static_cast<double>(variance.as<T>()[c]) + kEps);
      scale[static_cast<size_t>(c)] = static_cast<T>(a);
      shift[static_cast<size_t>(c)] = static_cast<T>(static_cast<double>(bias.as<T>()[c]) -
                                                     a * static_cast<double>(mean.as<T>()[c]));
    }
    Apply<T>(x, scale, shift, residual, relu, 1, y);
  });
}

void CpuOpTable::BatchNormBackward(View x, View stats, View gain, View y, View d_y, int64_t groups,
                                   View d_x, View d_residual, View d_gain, View d_bias) const {
  ByType(x.type, [&]<typename T>() {
    const int64_t channels = x.cols, n = x.rows / groups;
    // d_x = a dz - b - c (x - mean), [groups, C] each.
    std::vector<T> b(static_cast<size_t>(groups * channels)), k(b.size());
    const auto through = [&](int64_t row, int64_t c, const T* d) {
      return y && !(Row<T>(y, row)[c] > 0) ? T{0} : d[c];
    };
    SumGroups<T>(
        x.rows, groups, channels,
        [&](int64_t group, int64_t row, T* __restrict first, T* __restrict second) {
          const T* in = Row<T>(x, row);
          const T* mean = Row<T>(stats, 3 * group);
          const T* d = Row<T>(d_y, row);
          const T* out = y ? Row<T>(y, row) : nullptr;
          for (int64_t c = 0; c < channels; ++c) {
            const T dz = out == nullptr || out[c] > 0 ? d[c] : T{0};
            first[c] += dz;
            second[c] += dz * (in[c] - mean[c]);
          }
        },
        [&](int64_t group, const double* first, const double* second) {
          for (int64_t c = 0; c < channels; ++c) {
            const auto rstd = static_cast<double>(Row<T>(stats, 3 * group + 1)[c]);
            const double a = rstd * static_cast<double>(gain.as<T>()[c]);
            d_bias.as<T>()[c] += static_cast<T>(first[c]);
            d_gain.as<T>()[c] += static_cast<T>(second[c] * rstd);
            const auto i = static_cast<size_t>(group * channels + c);
            b[i] = static_cast<T>(a * first[c] / static_cast<double>(n));
            k[i] = static_cast<T>(a * second[c] * rstd * rstd / static_cast<double>(n));
          }
        });
    ParallelFor(0, x.rows, GrainOf(channels), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t group = r / n;
        const T* in = Row<T>(x, r);
        const T* mean = Row<T>(stats, 3 * group);
        const T* rstd = Row<T>(stats, 3 * group + 1);
        const T* d = Row<T>(d_y, r);
        const T* bg = b.data() + group * channels;
        const T* kg = k.data() + group * channels;
        T* to = Row<T>(d_x, r);
        T* residual = d_residual ? Row<T>(d_residual, r) : nullptr;
        for (int64_t c = 0; c < channels; ++c) {
          const T dz = through(r, c, d);
          if (residual != nullptr) residual[c] = dz;
          to[c] = rstd[c] * gain.as<T>()[c] * dz - bg[c] - kg[c] * (in[c] - mean[c]);
        }
      }
    });
  });
}

void CpuOpTable::CollectStatistics(View stats, int64_t groups, int64_t rows, View sums) const {
  CONTRAIL_ASSERT(rows > 1);  // or the unbiased variance is 0 / 0
  ByType(stats.type, [&]<typename T>() {
    const T unbiased = static_cast<T>(static_cast<double>(rows) / static_cast<double>(rows - 1));
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t c = 0; c < stats.cols; ++c) {
        Row<T>(sums, 0)[c] += Row<T>(stats, 3 * group)[c];
        Row<T>(sums, 1)[c] += Row<T>(stats, 3 * group + 2)[c] * unbiased;
      }
    }
  });
}

void CpuOpTable::FoldStatistics(View sums, int64_t groups, double momentum, View mean,
                                View variance) const {
  ByType(sums.type, [&]<typename T>() {
    const T m = static_cast<T>(momentum), per = static_cast<T>(1.0 / static_cast<double>(groups));
    for (int64_t c = 0; c < sums.cols; ++c) {
      mean.as<T>()[c] += m * (Row<T>(sums, 0)[c] * per - mean.as<T>()[c]);
      variance.as<T>()[c] += m * (Row<T>(sums, 1)[c] * per - variance.as<T>()[c]);
      Row<T>(sums, 0)[c] = Row<T>(sums, 1)[c] = 0;
    }
  });
}

}  // namespace contrail::model
