// Norms, and everything that moves rows. Work is split by rows, or by columns where rows are
// summed, so no sum crosses threads.
#include <array>
#include <cstring>

#include "common/error.h"
#include "model/ops/cpu_ops.h"

namespace contrail::model {
namespace {

constexpr int64_t kColumnBlock = 64;

// f(first column, number of columns) over blocks of whole vectors; `rows` are summed in each.
template <typename F>
void ByColumns(int64_t columns, int64_t rows, const F& f) {
  ParallelFor(0, (columns + kColumnBlock - 1) / kColumnBlock, GrainOf(kColumnBlock * rows),
              [&](int64_t begin, int64_t end) {
                const int64_t first = begin * kColumnBlock;
                f(first, std::min(end * kColumnBlock, columns) - first);
              });
}

template <typename F>
void ByRows(int64_t rows, int64_t columns, const F& f) {
  ParallelFor(0, rows, GrainOf(columns),
              [&](int64_t begin, int64_t end) { f(begin, end - begin); });
}

template <typename T>
T* Row(View v, int64_t row) {
  return v.as<T>() + row * v.stride;
}

// f(row, rows, column, columns, chunk [rows, kColumnBlock]) over pieces of 16-bit columns
// [first, first + count), in fp32 and rows in order: sums over them have one order, too.
template <typename F>
void EachChunk(const kernels::MixedTable& mixed, View x, int64_t first, int64_t count, const F& f) {
  constexpr int64_t kChunk = 64;
  float* const chunk = ThreadWorkspace().rows;
  const Rows16 wide(mixed);
  for (int64_t column = first; column < first + count; column += kColumnBlock) {
    const int64_t columns = std::min(kColumnBlock, first + count - column);
    for (int64_t row = 0; row < x.rows; row += kChunk) {
      const int64_t rows = std::min(kChunk, x.rows - row);
      for (int64_t i = 0; i < rows; ++i) {
        wide.ToFloat(x, row + i, column, columns, chunk + i * kColumnBlock);
      }
      f(row, rows, column, columns, chunk);
    }
  }
}

int64_t PickedRow(const Sequences& sequences, OpTable::Pick pick, int64_t i) {
  return pick == OpTable::Pick::kFirst ? sequences.Begin(i) : sequences.Begin(i + 1) - 1;
}

// What each byte becomes, by channel.
template <typename T>
std::array<std::array<T, 256>, 3> ByteTable(const Normalisation& pixels) {
  std::array<std::array<T, 256>, 3> table{};
  for (size_t c = 0; c < 3; ++c) {
    for (size_t v = 0; v < 256; ++v) {
      const double value = (static_cast<double>(v) / 255.0 - pixels.mean[c]) / pixels.std[c];
      if constexpr (std::is_same_v<T, double>) {
        table[c][v] = value;
      } else {
        table[c][v] = static_cast<T>(static_cast<float>(value));
      }
    }
  }
  return table;
}

}  // namespace

void CpuOpTable::AddColumnSums(View x, View sums) const {
  ByColumns(x.cols, x.rows, [&](int64_t first, int64_t count) {
    if (Is16Bit(x.type)) {
      const kernels::Table<float>& table = Kernels<float>();
      EachChunk(
          mixed_, x, first, count,
          [&](int64_t /*row*/, int64_t rows, int64_t column, int64_t columns, const float* chunk) {
            table.column_sums(rows, columns, chunk, kColumnBlock, sums.as<float>() + column);
          });
      return;
    }
    ByType(x.type, [&]<typename T>() {
      Kernels<T>().column_sums(x.rows, count, x.as<T>() + first, x.stride, sums.as<T>() + first);
    });
  });
}

void CpuOpTable::LayerNorm(View x, View gain, View bias, View y, View stats) const {
  if (Is16Bit(y.type)) {
    const kernels::Table<float>& table = Kernels<float>();
    const Rows16 narrow(mixed_);
    ByRows(x.rows, x.cols, [&](int64_t first, int64_t count) {
      float* const row = ThreadWorkspace().rows;
      for (int64_t i = first; i < first + count; ++i) {
        table.layer_norm(1, x.cols, Row<float>(x, i), x.stride, gain.as<float>(), bias.as<float>(),
                         row, x.cols, Row<float>(stats, i));
        narrow.FromFloat(row, y, i, 0, x.cols);
      }
    });
    return;
  }
  ByType(x.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    ByRows(x.rows, x.cols, [&](int64_t first, int64_t count) {
      table.layer_norm(count, x.cols, Row<T>(x, first), x.stride, gain.as<T>(), bias.as<T>(),
                       Row<T>(y, first), y.stride, Row<T>(stats, first));
    });
  });
}

void CpuOpTable::LayerNormBackward(View x, View stats, View gain, View d_y, bool add, View d_x,
                                   View d_gain, View d_bias) const {
  if (Is16Bit(d_y.type)) {
    const kernels::Table<float>& table = Kernels<float>();
    const Rows16 wide(mixed_);
    ByColumns(x.cols, x.rows, [&](int64_t first, int64_t count) {
      EachChunk(
          mixed_, d_y, first, count,
          [&](int64_t row, int64_t rows, int64_t column, int64_t columns, const float* chunk) {
            table.layer_norm_gains(rows, columns, Row<float>(x, row) + column, x.stride,
                                   Row<float>(stats, row), chunk, kColumnBlock,
                                   d_gain.as<float>() + column, d_bias.as<float>() + column);
          });
    });
    ByRows(x.rows, x.cols, [&](int64_t first, int64_t count) {
      float* const room = ThreadWorkspace().rows;
      for (int64_t i = first; i < first + count; ++i) {
        table.layer_norm_backward(1, x.cols, Row<float>(x, i), x.stride, Row<float>(stats, i),
                                  gain.as<float>(), wide.ToFloat(d_y, i, 0, x.cols, room), x.cols,
                                  add, Row<float>(d_x, i), d_x.stride);
      }
    });
    return;
  }
  ByType(x.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    ByColumns(x.cols, x.rows, [&](int64_t first, int64_t count) {  // before d_x may replace d_y
      table.layer_norm_gains(x.rows, count, x.as<T>() + first, x.stride, stats.as<T>(),
                             d_y.as<T>() + first, d_y.stride, d_gain.as<T>() + first,
                             d_bias.as<T>() + first);
    });
    ByRows(x.rows, x.cols, [&](int64_t first, int64_t count) {
      table.layer_norm_backward(count, x.cols, Row<T>(x, first), x.stride, Row<T>(stats, first),
                                gain.as<T>(), Row<T>(d_y, first), d_y.stride, add,
                                Row<T>(d_x, first), d_x.stride);
    });
  });
}

void CpuOpTable::Patchify(const uint8_t* images, int64_t count, int64_t resolution, int64_t patch,
                          const Normalisation& pixels, View out) const {
  CONTRAIL_ASSERT(resolution % patch == 0);
  const int64_t side = resolution / patch, plane = resolution * resolution;
  CONTRAIL_ASSERT(out.rows == count * side * side && out.cols == 3 * patch * patch);
  ByStorage(out.type, [&]<typename T>() {
    const auto values = ByteTable<T>(pixels);
    ByRows(out.rows, out.cols, [&](int64_t first, int64_t rows) {
      for (int64_t row = first; row < first + rows; ++row) {
        const int64_t image = row / (side * side), cell = row % (side * side);
        const uint8_t* corner =
            images + image * 3 * plane + cell / side * patch * resolution + cell % side * patch;
        T* to = Row<T>(out, row);
        for (size_t channel = 0; channel < 3; ++channel) {
          const std::array<T, 256>& value = values[channel];
          for (int64_t y = 0; y < patch; ++y) {
            const uint8_t* from = corner + static_cast<int64_t>(channel) * plane + y * resolution;
            for (int64_t x = 0; x < patch; ++x) *to++ = value[from[x]];
          }
        }
      }
    });
  });
}

void CpuOpTable::AssembleTokens(View patches, View cls, View pos, View out) const {
  const int64_t length = pos.rows;
  CONTRAIL_ASSERT(out.rows % length == 0 && patches.rows == out.rows / length * (length - 1));
  const Rows16 wide(mixed_);
  ByType(out.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    ByRows(out.rows, out.cols, [&](int64_t first, int64_t count) {
      for (int64_t row = first; row < first + count; ++row) {
        const int64_t i = row / length, j = row % length;
        const int64_t patch = i * (length - 1) + j - 1;
        const T* token = cls.as<T>();
        if constexpr (std::is_same_v<T, float>) {
          if (j > 0) token = wide.ToFloat(patches, patch, 0, out.cols, ThreadWorkspace().rows);
        } else {
          if (j > 0) token = Row<T>(patches, patch);
        }
        table.add(out.cols, token, Row<T>(pos, j), Row<T>(out, row));
      }
    });
  });
}

void CpuOpTable::AssembleTokensBackward(View d_out, View d_patches, View d_cls, View d_pos) const {
  const int64_t length = d_pos.rows, count = d_out.rows / length, width = d_out.cols;
  ByType(d_out.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    const Rows16 narrow(mixed_);
    ByRows(d_patches.rows, width, [&](int64_t first, int64_t rows) {
      for (int64_t row = first; row < first + rows; ++row) {
        const int64_t from = row / (length - 1) * length + row % (length - 1) + 1;
        if constexpr (std::is_same_v<T, float>) {
          narrow.FromFloat(Row<float>(d_out, from), d_patches, row, 0, width);
          if (Is16Bit(d_patches.type)) continue;
        }
        std::memcpy(Row<T>(d_patches, row), Row<T>(d_out, from),
                    static_cast<size_t>(width) * sizeof(T));
      }
    });
    ByRows(length, count * width, [&](int64_t first, int64_t rows) {
      for (int64_t j = first; j < first + rows; ++j) {
        table.column_sums(count, width, Row<T>(d_out, j), length * d_out.stride, Row<T>(d_pos, j));
      }
    });
    table.column_sums(count, width, d_out.as<T>(), length * d_out.stride, d_cls.as<T>());
  });
}

void CpuOpTable::Embed(const int32_t* ids, const Sequences& sequences, View table, View pos,
                       View out) const {
  ByType(out.type, [&]<typename T>() {
    const kernels::Table<T>& kernel = Kernels<T>();
    ByRows(sequences.count, out.cols * sequences.longest, [&](int64_t first, int64_t count) {
      for (int64_t i = first; i < first + count; ++i) {
        const int64_t begin = sequences.Begin(i), end = sequences.Begin(i + 1);
        for (int64_t t = begin; t < end; ++t) {
          kernel.add(out.cols, Row<T>(table, ids[t]), Row<T>(pos, t - begin), Row<T>(out, t));
        }
      }
    });
  });
}

void CpuOpTable::EmbedBackward(const int32_t* ids, const Sequences& sequences, View d_out,
                               View d_table, View d_pos) const {
  ByType(d_out.type, [&]<typename T>() {
    const kernels::Table<T>& kernel = Kernels<T>();
    ByColumns(d_out.cols, d_out.rows, [&](int64_t first, int64_t count) {
      for (int64_t i = 0; i < sequences.count; ++i) {
        const int64_t begin = sequences.Begin(i), end = sequences.Begin(i + 1);
        for (int64_t t = begin; t < end; ++t) {
          const T* from = Row<T>(d_out, t) + first;
          T* to_table = Row<T>(d_table, ids[t]) + first;
          T* to_pos = Row<T>(d_pos, t - begin) + first;
          kernel.add(count, from, to_table, to_table);
          kernel.add(count, from, to_pos, to_pos);
        }
      }
    });
  });
}

void CpuOpTable::GatherRows(View x, const Sequences& sequences, Pick pick, View out) const {
  CONTRAIL_ASSERT(x.type == out.type);
  ByStorage(x.type, [&]<typename T>() {
    for (int64_t i = 0; i < sequences.count; ++i) {
      std::memcpy(Row<T>(out, i), Row<T>(x, PickedRow(sequences, pick, i)),
                  static_cast<size_t>(x.cols) * sizeof(T));
    }
  });
}

void CpuOpTable::ScatterAddRows(View rows, const Sequences& sequences, Pick pick, View d_x) const {
  if (Is16Bit(rows.type) || Is16Bit(d_x.type)) {
    const kernels::Table<float>& kernel = Kernels<float>();
    const Rows16 convert(mixed_);
    float* const room = ThreadWorkspace().rows;
    for (int64_t i = 0; i < sequences.count; ++i) {
      const int64_t row = PickedRow(sequences, pick, i);
      const float* a = convert.ToFloat(rows, i, 0, rows.cols, room);
      const float* b = convert.ToFloat(d_x, row, 0, rows.cols, room + kLongestRow);
      float* sum = convert.Target(d_x, row, 0, room);
      kernel.add(rows.cols, a, b, sum);
      convert.FromFloat(sum, d_x, row, 0, rows.cols);
    }
    return;
  }
  ByType(rows.type, [&]<typename T>() {
    const kernels::Table<T>& kernel = Kernels<T>();
    for (int64_t i = 0; i < sequences.count; ++i) {
      T* to = Row<T>(d_x, PickedRow(sequences, pick, i));
      kernel.add(rows.cols, Row<T>(rows, i), to, to);
    }
  });
}

void CpuOpTable::Activate(View pre, Activation f, View act) const {
  CONTRAIL_ASSERT(pre.rows == act.rows && pre.cols == act.cols && pre.type == act.type);
  if (Is16Bit(pre.type)) {
    const Rows16 rows(mixed_);
    ByRows(pre.rows, pre.cols, [&](int64_t first, int64_t count) {
      float* const row = ThreadWorkspace().rows;
      CONTRAIL_ASSERT(pre.cols <= kLongestRow);
      for (int64_t i = first; i < first + count; ++i) {
        rows.ToFloat(pre, i, 0, pre.cols, row);
        Kernels<float>().activate(pre.cols, row, f == Activation::kGelu, row);
        rows.FromFloat(row, act, i, 0, pre.cols);
      }
    });
    return;
  }
  ByType(pre.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    ByRows(pre.rows, pre.cols, [&](int64_t first, int64_t count) {
      for (int64_t i = first; i < first + count; ++i) {
        table.activate(pre.cols, Row<T>(pre, i), f == Activation::kGelu, Row<T>(act, i));
      }
    });
  });
}

void CpuOpTable::Normalize(View x, View y, View norms) const {
  ByType(x.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    ByRows(x.rows, x.cols, [&](int64_t first, int64_t count) {
      table.normalize(count, x.cols, Row<T>(x, first), x.stride, Row<T>(y, first), y.stride,
                      norms.as<T>() + first);
    });
  });
}

void CpuOpTable::NormalizeBackward(View y, View norms, View d_y, View d_x) const {
  ByType(y.type, [&]<typename T>() {
    const kernels::Table<T>& table = Kernels<T>();
    ByRows(y.rows, y.cols, [&](int64_t first, int64_t count) {
      table.normalize_backward(count, y.cols, Row<T>(y, first), y.stride, norms.as<T>() + first,
                               Row<T>(d_y, first), d_y.stride, Row<T>(d_x, first), d_x.stride);
    });
  });
}

void CpuOpTable::Copy(View from, View to) const {
  CONTRAIL_ASSERT(from.rows == to.rows && from.cols == to.cols && from.type == to.type);
  ByStorage(from.type, [&]<typename T>() {
    for (int64_t i = 0; i < from.rows; ++i) {
      std::memcpy(Row<T>(to, i), Row<T>(from, i), static_cast<size_t>(from.cols) * sizeof(T));
    }
  });
}

void CpuOpTable::Zero(View x) const {
  ByStorage(x.type, [&]<typename T>() {
    for (int64_t i = 0; i < x.rows; ++i) std::fill_n(Row<T>(x, i), x.cols, T{0});
  });
}

}  // namespace contrail::model
