#pragma once
// Who exchanges what when many ranks sum slices: ceil(log2 N) stages with one message to one rank
// and one from one rank in each, where a direct exchange has N - 1. No more data moves than there.
//
// N = 2^a * m with m odd. First a stages among pairs: ranks whose numbers differ in bit 0, then in
// bit 1, and so on; each keeps the half of its slices that is on its side. Neighbours in number are
// neighbours on a node, so most of the data stays there and a network carries each slice once a
// node. Then the m ranks with the same low bits, in a ring: each keeps the nearer half of what it
// has and gives the farther half to the rank where that half begins (Träff, "Optimal, non-pipelined
// reduce-scatter and allreduce algorithms", 2024).
//
// Read backwards, with give and take exchanged, the same plan gathers slices.

#include <vector>

namespace contrail::worker {

struct HalvingStage {
  int to = 0;
  int from = 0;
  std::vector<int> give;  // slices whose sums so far go to `to`
  std::vector<int> take;  // slices to which the sums that come from `from` are added
};

// Afterwards this rank has the whole sum of slice `rank`. Depends on nothing but the two numbers.
std::vector<HalvingStage> PlanHalving(int rank, int size);

}  // namespace contrail::worker
