#include "model/arena.h"

#include "common/error.h"

namespace contrail::model {

int64_t SlotBytes(const Slot& slot) {
  constexpr int64_t kAlign = 64;  // a cache line
  const int64_t bytes = slot.rows * slot.cols * static_cast<int64_t>(c10::elementSize(slot.type));
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

Slot ArenaPlan::Add(Slot shape) {
  shape.offset = Reserve(SlotBytes(shape));
  return shape;
}

int64_t ArenaPlan::Reserve(int64_t bytes) {
  const int64_t begin = next_;
  next_ += bytes;
  peak_ = std::max(peak_, next_);
  return begin;
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
