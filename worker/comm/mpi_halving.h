#pragma once
// Sums and gathers of many ranks, in the stages of halving_plan.h: a rank sends ceil(log2 N)
// messages for every `chunk_elements` of a slice, to as many ranks.
//
// Every element's sum is formed in a tree that only the number of ranks and the slice decide, so as
// many ranks give the same bits; they are not those of the rank order (mpi_reduce.h). 16-bit types
// leave the first rank as they are, travel on as sums in fp32 and are rounded once at the end.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/comm/comm.h"
#include "worker/comm/halving_plan.h"
#include "worker/comm/mpi_group.h"

namespace contrail::worker {

class Halving {
 public:
  Halving(int rank, int size, int64_t chunk_elements, int64_t max_count)
      : plan_(PlanHalving(rank, size)), chunk_elements_(chunk_elements), max_count_(max_count) {}

  // out = own slice of the sum over ranks of `in`: the contract of RankOrderSum::ReduceSlice.
  void ReduceSlice(MpiGroup& group, const at::Tensor& in, const std::vector<int64_t>& begin,
                   const at::Tensor& out, Wire wire);

  // Slice q of all lies at elements [begin[q], begin[q + 1]); own slice in, all slices out.
  void Gather(MpiGroup& group, char* all, const std::vector<int64_t>& begin, at::ScalarType type);

 private:
  template <typename Row, typename Sum, typename Out>
  class Reduction;

  std::vector<HalvingStage> plan_;
  int64_t chunk_elements_;
  int64_t max_count_;                                   // elements in one MPI call
  std::vector<char> sums_, outgoing_, incoming_, own_;  // grown to the largest need
};

}  // namespace contrail::worker
