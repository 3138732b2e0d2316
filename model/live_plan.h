#pragma once
// Slots that are needed for a while only, placed so that those which are never needed at the same
// time may share memory. Times are numbers in the order a tower runs in.
//
//   LivePlan live(&plan);
//   live.Add(&kept_, rows, cols, {{3, 9}});            // from time 3 to time 9, both included
//   live.Add(&formed_twice_, rows, cols, {{3, 3}, {9, 9}});
//   live.Place();                                      // now the slots have their offsets

#include <vector>

#include "model/arena.h"

namespace contrail::model {

struct Life {
  int first = 0;
  int last = 0;  // included
};
using Lives = std::vector<Life>;

class LivePlan {
 public:
  explicit LivePlan(ArenaPlan* plan) : plan_(plan) {}

  // `slot` is written by Place and must stay where it is until then.
  void Add(Slot* slot, int64_t rows, int64_t cols, const Lives& lives);
  void AddWide(Slot* slot, int64_t rows, int64_t cols, const Lives& lives);
  // One piece of the arena for all of them: the largest first, each into the smallest gap that
  // holds it (Pisarchyk & Lee 2020, "Greedy by size for offset calculation").
  void Place();

 private:
  struct Wanted {
    Slot* slot;
    int64_t bytes;
    Lives lives;
    int64_t offset = -1;
  };

  void Add(Slot* slot, const Slot& shape, const Lives& lives);
  int64_t GapFor(const Wanted& wanted, const std::vector<const Wanted*>& placed) const;

  ArenaPlan* plan_;
  std::vector<Wanted> wanted_;
};

}  // namespace contrail::model
