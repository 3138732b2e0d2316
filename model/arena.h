#pragma once
// Planned activations. A tower says once what it will hold and when it lets go; the arena then is
// one allocation whose size is known before the first step, and a slot is an offset into it.
//
//   ArenaPlan plan(at::kBFloat16);
//   Slot kept = plan.Add(rows, cols);
//   Slot sums = plan.AddWide(rows, cols);   // fp32, whatever the activations' type
//   const int64_t mark = plan.Mark();
//   Slot scratch = plan.Add(...);       // until Rewind, after which its place is given again
//   plan.Rewind(mark);              // live_plan.h does this for many slots of different lives
//   Arena arena(plan);
//   View x = arena.At(kept, rows_now);  // rows_now <= rows

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/ops/view.h"

namespace contrail::model {

struct Slot {
  int64_t offset = -1;  // bytes, multiples of 64
  int64_t rows = 0;     // at most
  int64_t cols = 0;
  at::ScalarType type = at::kFloat;
};

int64_t SlotBytes(const Slot& slot);  // to the end of a cache line

// What is never kept in 16 bits, in a model that computes in `type`: fp32, or fp64 with fp64.
inline at::ScalarType WideType(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

class ArenaPlan {
 public:
  // `type`: the activations'.
  explicit ArenaPlan(at::ScalarType type) : type_(type) {}

  Slot Add(int64_t rows, int64_t cols) { return Add(Shape(rows, cols)); }
  Slot AddWide(int64_t rows, int64_t cols) { return Add(WideShape(rows, cols)); }
  // For whoever places slots himself (live_plan.h): slots without an offset, and room for them.
  Slot Shape(int64_t rows, int64_t cols) const { return {-1, rows, cols, type_}; }
  Slot WideShape(int64_t rows, int64_t cols) const { return {-1, rows, cols, WideType(type_)}; }
  int64_t Reserve(int64_t bytes);

  int64_t Mark() const { return next_; }
  void Rewind(int64_t mark) { next_ = mark; }
  int64_t bytes() const { return peak_; }

 private:
  Slot Add(Slot shape);

  at::ScalarType type_;
  int64_t next_ = 0;
  int64_t peak_ = 0;
};

class Arena {
 public:
  Arena() = default;
  explicit Arena(const ArenaPlan& plan);

  View At(const Slot& slot, int64_t rows) const;
  int64_t bytes() const;

 private:
  at::Tensor memory_;
};

}  // namespace contrail::model
