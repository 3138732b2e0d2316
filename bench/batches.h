#pragma once
// Batches in memory from a file of bench/inputs.py, which the peers read too:
//   int64 samples, resolution, tokens | uint8 images [n, 3, R, R] | int32 offsets [n + 1] | int32
//   ids

#include <string>
#include <vector>

#include "data/batch.h"

namespace contrail::bench {

// A rank's share of all whole global batches of `batch` samples in the file; exits with a message
// where there are none.
std::vector<data::Batch> ReadBatches(const std::string& path, int64_t batch, int rank = 0,
                                     int ranks = 1);

}  // namespace contrail::bench
