#pragma once
// Own rows against all columns, one tile of cosines after the other: how the losses walk through
// the b x B matrix that is never made.

#include <algorithm>
#include <vector>

#include "common/error.h"
#include "model/loss.h"
#include "model/loss_kernels.h"
#include "model/ops/op_table.h"

namespace contrail::model::loss {

// What every loss asks of its caller.
inline void CheckInput(const LossInput& input, int64_t own_rows, int64_t global_rows,
                       int64_t embed_dim, const at::Tensor& d_image) {
  CONTRAIL_ASSERT(input.scale > 0 && input.scale <= 150);
  CONTRAIL_ASSERT(input.image.size(0) == own_rows && input.text_all.size(0) == global_rows &&
                  input.image.size(1) == embed_dim && input.offset + own_rows <= global_rows);
  CONTRAIL_ASSERT(input.image.is_contiguous() && d_image.is_contiguous());
}

// One set of own rows against all columns.
struct Side {
  const at::Tensor& rows;     // [b, D]
  const at::Tensor& columns;  // [B, D]
};

struct Place {
  Tile tile;
  int64_t row = 0;     // of the first row, among own rows
  int64_t column = 0;  // of the first column, in the global batch
  View matrix;         // the tile as [rows, columns]
};

// Rows of a matrix whose rows may be apart (one half of the gathered features).
inline View RowsOf(const at::Tensor& matrix, int64_t first, int64_t count) {
  return View{matrix.data_ptr(), matrix.size(0), matrix.size(1), matrix.stride(0),
              matrix.scalar_type()}
      .Rows(first, count);
}

class Tiles {
 public:
  Tiles(int64_t own_rows, int64_t global_rows, int64_t tile_size)
      : b_(own_rows),
        B_(global_rows),
        rows_(std::min(tile_size, own_rows)),
        columns_(PadToLanes(std::min(tile_size, global_rows))),
        tile_(at::empty({rows_, columns_}, at::kFloat)),
        partial_(at::empty({(rows_ + kRowBlock - 1) / kRowBlock, 2, columns_}, at::kFloat)) {}

  bool OneTile() const { return b_ <= rows_ && B_ <= columns_; }
  float* partial() const { return partial_.data_ptr<float>(); }  // scratch of the kernels

  // visit(Place) for every tile, filled with cosines where they are asked for.
  template <typename Visit>
  void ForAll(const Side& side, bool cosines, const Visit& visit) {
    for (int64_t row = 0; row < b_; row += rows_) {
      const int64_t rows = std::min(rows_, b_ - row);
      for (int64_t column = 0; column < B_; column += columns_) {
        const int64_t columns = std::min(columns_, B_ - column);
        const View matrix = RowsOf(tile_, 0, rows).Cols(0, columns);
        if (cosines) {
          CpuOps().Linear(RowsOf(side.rows, row, rows), RowsOf(side.columns, column, columns), {},
                          {}, matrix);
        }
        visit(Place{{tile_.data_ptr<float>(), columns_, rows, columns}, row, column, matrix});
      }
    }
  }

  // visit(i, element): the tile's elements on the diagonal; i counts own rows, of which the first
  // is row `offset` of the global batch.
  template <typename Visit>
  static void ForDiagonal(const Place& place, int64_t offset, const Visit& visit) {
    for (int64_t i = 0; i < place.tile.rows; ++i) {
      const int64_t column = offset + place.row + i - place.column;
      if (column < 0 || column >= place.tile.columns) continue;
      visit(place.row + i, place.tile.data[i * place.tile.stride + column]);
    }
  }

 private:
  const int64_t b_, B_, rows_, columns_;
  at::Tensor tile_, partial_;
};

// d_rows += G columns for the tile G at `place`.
inline void AddToRows(const Place& place, const Side& side, const at::Tensor& d_rows) {
  CpuOps().AddProduct(place.matrix, RowsOf(side.columns, place.column, place.tile.columns),
                      RowsOf(d_rows, place.row, place.tile.rows));
}

// d_columns += G^T rows.
inline void AddToColumns(const Place& place, const Side& side, const at::Tensor& d_columns) {
  CpuOps().LinearBackwardWeight(RowsOf(side.rows, place.row, place.tile.rows), place.matrix,
                                RowsOf(d_columns, place.column, place.tile.columns), {});
}

// Rows whose own cosine is the best, a tie up to rounding included: a caption that stands twice in
// the batch is as good as its twin.
inline int64_t CountCorrect(const std::vector<float>& own, const float* best_others) {
  constexpr float kTie = 1e-6f;
  int64_t correct = 0;
  for (size_t i = 0; i < own.size(); ++i) correct += own[i] >= best_others[i] - kTie;
  return correct;
}

// <a, b> in fp64.
inline double Dot(const at::Tensor& a, const at::Tensor& b) {
  const float* x = a.data_ptr<float>();
  const float* y = b.data_ptr<float>();
  double sum = 0;
  for (int64_t i = 0; i < a.numel(); ++i) sum += static_cast<double>(x[i]) * y[i];
  return sum;
}

}  // namespace contrail::model::loss
