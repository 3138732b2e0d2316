#pragma once
// Sums over ranks in rank order: ((x_0 + x_1) + x_2) + ... for every element, whoever owns it. MPI
// only moves bytes, so bits depend on nothing but the values and the number of ranks; and a direct
// exchange of slices is five times as fast as OpenMPI 4.1's MPI_Reduce_scatter_block on a node.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/comm/mpi_group.h"

namespace contrail::worker {

// Slice q of a tensor of `count` elements is [begin[q], begin[q + 1]).
std::vector<int64_t> EqualSlices(int64_t count, int size);

class RankOrderSum {
 public:
  // `chunk_elements`: at most so many elements of a slice are in flight from each peer.
  explicit RankOrderSum(int64_t chunk_elements) : chunk_elements_(chunk_elements) {}

  // out = own slice of the sum over ranks of `in`. `out` may be `in`'s own slice; `in` is
  // otherwise left alone. Both contiguous and of one supported type.
  void ReduceSlice(const MpiGroup& group, const at::Tensor& in, const std::vector<int64_t>& begin,
                   at::Tensor out);

  // tensor = sum over ranks, by gathering everything: for tensors of a few kB.
  void ReduceSmall(const MpiGroup& group, at::Tensor tensor);

 private:
  at::Tensor Scratch(at::ScalarType type, int64_t elements);

  int64_t chunk_elements_;
  at::Tensor scratch_;  // bytes, grown to the largest need
};

// The MPI type of a tensor's elements; a bug for types other than the five of comm.h.
MPI_Datatype MpiType(at::ScalarType type);

}  // namespace contrail::worker
