#pragma once
// Planned activations. A tower says once what it will hold and when it lets go; the arena then is
// one allocation whose size is known before the first step, and a slot is an offset into it.
//
//   ArenaPlan plan;
//   Slot kept = plan.Add(rows, cols);
//   const int64_t mark = plan.Mark();
//   Slot scratch = plan.Add(...);       // until Rewind, after which its place is given again
//   plan.Rewind(mark);
//   Arena arena(plan, at::kFloat);
//   View x = arena.At(kept, rows_now);  // rows_now <= rows

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/ops/view.h"

namespace contrail::model {

struct Slot {
  int64_t offset = -1;  // elements; multiples of 64 bytes
  int64_t rows = 0;     // at most
  int64_t cols = 0;
};

class ArenaPlan {
 public:
  Slot Add(int64_t rows, int64_t cols);
  int64_t Mark() const { return next_; }
  void Rewind(int64_t mark) { next_ = mark; }
  int64_t size() const { return peak_; }  // elements

 private:
  int64_t next_ = 0;
  int64_t peak_ = 0;
};

class Arena {
 public:
  Arena() = default;
  Arena(const ArenaPlan& plan, at::ScalarType type);

  View At(const Slot& slot, int64_t rows) const;
  int64_t bytes() const;

 private:
  at::Tensor memory_;
};

}  // namespace contrail::model
