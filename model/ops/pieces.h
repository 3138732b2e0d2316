#pragma once
// How rows of positions are cut into pieces of work: whole images, or whole lines of one image,
// inside one group of a batch norm. The cut follows from the shape alone, and a piece's sums have
// one order, so results do not depend on the number of threads.

#include "model/ops/kernels/conv_kernels.h"
#include "model/ops/op_table.h"

namespace contrail::model {

struct Piece {
  int64_t group, image, images, line, lines;
  int64_t row, rows;
};

class Pieces {
 public:
  Pieces(const ImageShape& shape, int64_t groups)
      : shape_(shape), groups_(groups), images_per_group_(shape.count / groups) {
    const int64_t area = shape.height * shape.width;
    if (area >= kernels::kPieceRows) {
      lines_ = std::max<int64_t>(1, kernels::kPieceRows / shape.width);
      per_image_ = (shape.height + lines_ - 1) / lines_;
      per_group_ = images_per_group_ * per_image_;
    } else {
      images_ = std::max<int64_t>(1, kernels::kPieceRows / area);
      per_group_ = (images_per_group_ + images_ - 1) / images_;
    }
  }

  int64_t count() const { return groups_ * per_group_; }
  int64_t groups() const { return groups_; }
  int64_t per_group() const { return per_group_; }

  Piece At(int64_t i) const {
    Piece piece{.group = i / per_group_,
                .image = 0,
                .images = 1,
                .line = 0,
                .lines = shape_.height,
                .row = 0,
                .rows = 0};
    const int64_t local = i % per_group_, first = piece.group * images_per_group_;
    if (lines_ > 0) {
      piece.image = first + local / per_image_;
      piece.line = local % per_image_ * lines_;
      piece.lines = std::min(lines_, shape_.height - piece.line);
    } else {
      piece.image = first + local * images_;
      piece.images = std::min(images_, images_per_group_ - local * images_);
    }
    piece.row = (piece.image * shape_.height + piece.line) * shape_.width;
    piece.rows = piece.images * piece.lines * shape_.width;
    return piece;
  }

 private:
  ImageShape shape_;
  int64_t groups_, images_per_group_;
  int64_t lines_ = 0, per_image_ = 0;  // pieces of lines
  int64_t images_ = 0;                 // pieces of images
  int64_t per_group_ = 0;
};

}  // namespace contrail::model
