#pragma once
// The HDF5 layout of one node's shard, without its payload.
//
// One shard holds, for every rank of the node, a group /rank_00003 with 1-D fp32 datasets (weight,
// exp_avg, exp_avg_sq, or weight alone: the concatenation of the rank's ranges), `ranges`, uint64
// [n, 2], and `page_crc32c`, uint32 [kinds, pages]: a checksum for every kPageBytes of every
// dataset. Datasets are contiguous, allocated early and never filled, so their file offsets are
// known and the payload can be written by pwrite from any rank (research: HDF5 1.10.8 neither syncs
// nor survives a full disk). Every rank of a node calls this with the same arguments and gets the
// same bytes.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/state.h"

namespace contrail::ckpt {

struct RankRanges {
  int rank = 0;
  std::vector<Range> ranges;
};

struct Extent {  // bytes [begin, end) of a file
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SkeletonPiece {
  uint64_t offset = 0;
  std::string bytes;
};

struct Skeleton {
  uint64_t file_bytes = 0;
  // offsets[i][k]: first byte of rank i's (order of the call) dataset k; 0 where it is empty
  // or of a kind that the step does not hold.
  std::vector<std::array<uint64_t, kNumKinds>> offsets;
  std::vector<uint64_t> page_crcs_offsets;  // of rank i's page checksums; 0 where there are none
  // Everything that is neither payload nor page checksums, ascending: the same for every rank.
  std::vector<SkeletonPiece> pieces;
  // CRC-32C of all that is not payload, in file order, with zeros for page checksums.
  uint32_t crc = 0;
  std::vector<Extent> summed;  // what `crc` is of

  // What rank i's page checksums change `crc` by (xor).
  uint32_t ChangeOf(size_t i, const std::vector<uint32_t>& page_crcs) const;
};

// The first `kinds` of kKindNames. Throws EnvironmentError E-CKPT-HDF5. Thread-safe (one thread at
// a time inside HDF5).
Skeleton MakeSkeleton(uint64_t step, int node, const std::vector<RankRanges>& ranks,
                      int kinds = kNumKinds);

uint64_t NumElements(const std::vector<Range>& ranges);

// The parts of [0, file_bytes) outside `payload`, ascending.
std::vector<Extent> Gaps(std::vector<Extent> payload, uint64_t file_bytes);

std::string RankGroupName(int rank);  // "rank_00003"
// "/rank_00003/weight"
std::string DatasetPath(int rank, int kind);

}  // namespace contrail::ckpt
