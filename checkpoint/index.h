#pragma once
// index.h5: the whole step as one HDF5 file for people. Every tensor is a virtual dataset under its
// state-dict name, in groups weight/, exp_avg/, exp_avg_sq/ and buffer/, whole and N-dimensional,
// mapped to the pieces in the shards and in buffers.h5 beside it. Contrail itself never reads it:
// HDF5 returns fill values (here NaN) without an error where a shard is missing.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/format.h"

namespace contrail::ckpt {

// A box of an N-D tensor: start and count per dimension.
struct Box {
  std::vector<uint64_t> start;
  std::vector<uint64_t> count;
};

// The flat row-major range [begin, end) of a tensor of `shape` as boxes, in order. At most
// 2 (ndim - 1) + 1 of them.
std::vector<Box> BoxesOf(const std::vector<int64_t>& shape, uint64_t begin, uint64_t end);

// The bytes of index.h5. Throws EnvironmentError E-CKPT-HDF5.
std::string MakeIndex(const Manifest& manifest);

}  // namespace contrail::ckpt
