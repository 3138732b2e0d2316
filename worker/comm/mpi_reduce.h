#pragma once
// Sums over ranks in rank order: ((x_0 + x_1) + x_2) + ... for every element, whoever owns it. MPI
// only moves bytes, so bits depend on nothing but the values and the number of ranks; and a direct
// exchange of slices is five times as fast as OpenMPI 4.1's MPI_Reduce_scatter_block on a node.
// Every rank sends a message to every other: for hundreds of ranks there is mpi_halving.h.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "worker/comm/comm.h"
#include "worker/comm/mpi_group.h"

namespace contrail::worker {

// Elements of a slice that travel at once where at most `chunk_elements` may: fewer among many
// ranks, so that what is in flight is bounded.
int64_t ChunkOf(int64_t chunk_elements, int size);

// Slice q of a tensor of `count` elements is [begin[q], begin[q + 1]).
std::vector<int64_t> EqualSlices(int64_t count, int size);

class RankOrderSum {
 public:
  // `chunk_elements`: at most so many elements of a slice are in flight from each peer.
  explicit RankOrderSum(int64_t chunk_elements) : chunk_elements_(chunk_elements) {}

  // out = own slice of the sum over ranks of `in`. `out` may be `in`'s own slice; `in` is
  // otherwise left alone. Both contiguous and of one supported type.
  void ReduceSlice(MpiGroup& group, const at::Tensor& in, const std::vector<int64_t>& begin,
                   const at::Tensor& out, Wire wire);

  // tensor = sum over ranks, by gathering everything: for tensors of a few kB. `gather` fills the
  // room for all ranks' tensors, in which own values lie at their place already.
  using Gather = std::function<void(char* all)>;
  void ReduceSmall(const MpiGroup& group, const at::Tensor& tensor, const Gather& gather);

 private:
  char* Scratch(std::vector<char>& scratch, int64_t bytes);

  int64_t chunk_elements_;
  std::vector<char> received_, rounded_;  // grown to the largest need
};

// What carries a tensor's elements, bits untouched; a bug for types other than those of comm.h.
MPI_Datatype MpiType(at::ScalarType type);

}  // namespace contrail::worker
