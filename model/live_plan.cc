#include "model/live_plan.h"

#include <algorithm>
#include <limits>

#include "common/error.h"

namespace contrail::model {
namespace {

bool AtTheSameTime(const Lives& a, const Lives& b) {
  for (const Life& x : a) {
    for (const Life& y : b) {
      if (x.first <= y.last && y.first <= x.last) return true;
    }
  }
  return false;
}

}  // namespace

void LivePlan::Add(Slot* slot, int64_t rows, int64_t cols, const Lives& lives) {
  Add(slot, plan_->Shape(rows, cols), lives);
}

void LivePlan::AddWide(Slot* slot, int64_t rows, int64_t cols, const Lives& lives) {
  Add(slot, plan_->WideShape(rows, cols), lives);
}

void LivePlan::Add(Slot* slot, const Slot& shape, const Lives& lives) {
  for (const Life& life : lives) CONTRAIL_ASSERT(life.first <= life.last);
  *slot = shape;
  wanted_.push_back({slot, SlotBytes(shape), lives});
}

int64_t LivePlan::GapFor(const Wanted& wanted, const std::vector<const Wanted*>& placed) const {
  int64_t best = -1, best_size = std::numeric_limits<int64_t>::max(), end = 0;
  for (const Wanted* other : placed) {  // by offset
    if (!AtTheSameTime(wanted.lives, other->lives)) continue;
    const int64_t gap = other->offset - end;
    if (gap >= wanted.bytes && gap < best_size) {
      best = end;
      best_size = gap;
    }
    end = std::max(end, other->offset + other->bytes);
  }
  return best >= 0 ? best : end;
}

void LivePlan::Place() {
  std::vector<Wanted*> order;
  for (Wanted& wanted : wanted_) order.push_back(&wanted);
  std::stable_sort(order.begin(), order.end(),
                   [](const Wanted* a, const Wanted* b) { return a->bytes > b->bytes; });
  std::vector<const Wanted*> placed;
  int64_t size = 0;
  for (Wanted* wanted : order) {
    wanted->offset = GapFor(*wanted, placed);
    size = std::max(size, wanted->offset + wanted->bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), wanted,
                         [](const Wanted* a, const Wanted* b) { return a->offset < b->offset; }),
        wanted);
  }
  const int64_t begin = plan_->Reserve(size);
  for (const Wanted& wanted : wanted_) wanted.slot->offset = begin + wanted.offset;
  wanted_.clear();
}

}  // namespace contrail::model
