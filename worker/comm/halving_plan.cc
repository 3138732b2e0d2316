#include "worker/comm/halving_plan.h"

namespace contrail::worker {

std::vector<HalvingStage> PlanHalving(int rank, int size) {
  std::vector<HalvingStage> stages;
  int step = 1;  // slices that are still held: rank, rank +- step, rank +- 2 step, ...
  for (; size / step % 2 == 0; step *= 2) {
    HalvingStage stage;
    stage.to = stage.from = rank ^ step;
    for (int slice = rank % step; slice < size; slice += step) {
      const bool own_side = ((slice ^ rank) & step) == 0;
      (own_side ? stage.take : stage.give).push_back(slice);
    }
    stages.push_back(stage);
  }
  // What is left is a ring of an odd number of ranks, `step` apart.
  const auto at = [&](int places) { return (rank + places * step + size) % size; };
  for (int held = size / step; held > 1;) {
    const int kept = (held + 1) / 2;
    HalvingStage stage;
    stage.to = at(kept);
    stage.from = at(-kept);
    for (int place = kept; place < held; ++place) {
      stage.give.push_back(at(place));
      stage.take.push_back(at(place - kept));
    }
    stages.push_back(stage);
    held = kept;
  }
  return stages;
}

}  // namespace contrail::worker
