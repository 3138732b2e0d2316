#include "model/positions.h"

#include "common/error.h"

namespace contrail::model {
namespace {

// Positions to a side of a grid with a first row before it.
int64_t SideOf(int64_t rows) {
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(rows - 1))));
  CONTRAIL_ASSERT(side > 0 && side * side == rows - 1);
  return side;
}

}  // namespace

bool IsImagePositions(const std::string& name) {
  return name == "visual.positional_embedding" || name == "visual.attnpool.positional_embedding";
}

at::Tensor ResamplePositions(const at::Tensor& positions, int64_t rows) {
  if (positions.size(0) == rows) return positions;
  const int64_t from = SideOf(positions.size(0)), to = SideOf(rows), width = positions.size(1);
  const at::Tensor grid =
      positions.narrow(0, 1, from * from).view({1, from, from, width}).permute({0, 3, 1, 2});
  const at::Tensor resampled =
      at::_upsample_bicubic2d_aa(grid.contiguous(), {to, to}, /*align_corners=*/false);
  at::Tensor out = at::empty({rows, width}, positions.options());
  out.narrow(0, 0, 1).copy_(positions.narrow(0, 0, 1));
  out.narrow(0, 1, to * to).copy_(resampled.permute({0, 2, 3, 1}).reshape({to * to, width}));
  return out;
}

}  // namespace contrail::model
