#pragma once
// index.h5: the whole step as one HDF5 file for people. Every tensor is a virtual dataset under its
// state-dict name, in groups weight/, exp_avg/, exp_avg_sq/ and buffer/, whole and N-dimensional,
// mapped to the pieces in the shards and in buffers.h5 beside it. Contrail itself never reads it:
// HDF5 returns fill values (here NaN) without an error where a shard is missing.
//
// HDF5 needs some 80 us for every piece: nothing for a few ranks, 12 s and 40 MB for 1,024. So a
// commit makes it where there are few pieces; elsewhere people ask for it (contrail checkpoint
// index), and nobody waits for it who trains.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/format.h"
#include "common/file_system.h"

namespace contrail::ckpt {

// A box of an N-D tensor: start and count per dimension.
struct Box {
  std::vector<uint64_t> start;
  std::vector<uint64_t> count;
};

// The flat row-major range [begin, end) of a tensor of `shape` as boxes, in order. At most
// 2 (ndim - 1) + 1 of them.
std::vector<Box> BoxesOf(const std::vector<int64_t>& shape, uint64_t begin, uint64_t end);

// How many pieces of tensors it maps, all kinds; a commit makes it up to kMostPiecesInCommit.
uint64_t PiecesOfIndex(const Manifest& manifest);
inline constexpr uint64_t kMostPiecesInCommit = 4096;

// The bytes of index.h5. Throws EnvironmentError E-CKPT-HDF5.
std::string MakeIndex(const Manifest& manifest);

// Makes index.h5 of a committed step that was committed without one (of one that has it: nothing).
// Not covered by COMMIT, so not verified: it can be made anew at any time. Returns whether it was
// made. Throws as StepReader::Open and MakeIndex, and E-IO.
bool WriteIndex(FileSystem& fs, const std::string& step_dir);

}  // namespace contrail::ckpt
