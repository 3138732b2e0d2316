#include "model/arena.h"

#include "common/error.h"

namespace contrail::model {

Slot ArenaPlan::Add(int64_t rows, int64_t cols, at::ScalarType type) {
  constexpr int64_t kAlign = 64;  // a cache line
  const Slot slot{next_, rows, cols, type};
  const int64_t bytes = rows * cols * static_cast<int64_t>(c10::elementSize(type));
  next_ += (bytes + kAlign - 1) / kAlign * kAlign;
  peak_ = std::max(peak_, next_);
  return slot;
}

// Written once here, so that the pages are there before the first step.
Arena::Arena(const ArenaPlan& plan) : memory_(at::zeros({plan.bytes()}, at::kByte)) {}

View Arena::At(const Slot& slot, int64_t rows) const {
  CONTRAIL_ASSERT(slot.offset >= 0 && rows <= slot.rows && memory_.defined());
  View view;
  view.data = static_cast<char*>(AsView(memory_).data) + slot.offset;
  view.rows = rows;
  view.cols = view.stride = slot.cols;
  view.type = slot.type;
  return view;
}

int64_t Arena::bytes() const {
  return memory_.defined() ? static_cast<int64_t>(memory_.nbytes()) : 0;
}

}  // namespace contrail::model
