#include "model/arena.h"

#include "common/error.h"

namespace contrail::model {

Slot ArenaPlan::Add(int64_t rows, int64_t cols) {
  constexpr int64_t kAlign = 16;  // elements: a cache line of fp32
  const Slot slot{next_, rows, cols};
  next_ += (rows * cols + kAlign - 1) / kAlign * kAlign;
  peak_ = std::max(peak_, next_);
  return slot;
}

// Written once here, so that the pages are there before the first step.
Arena::Arena(const ArenaPlan& plan, at::ScalarType type)
    : memory_(at::zeros({plan.size()}, at::TensorOptions().dtype(type))) {}

View Arena::At(const Slot& slot, int64_t rows) const {
  CONTRAIL_ASSERT(slot.offset >= 0 && rows <= slot.rows && memory_.defined());
  View all = AsView(memory_);
  View view = all.Cols(slot.offset, slot.cols);
  view.rows = rows;
  view.stride = slot.cols;
  return view;
}

int64_t Arena::bytes() const {
  return memory_.defined() ? static_cast<int64_t>(memory_.nbytes()) : 0;
}

}  // namespace contrail::model
