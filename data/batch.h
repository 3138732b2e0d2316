#pragma once
// What the loader hands to the trainer: plain memory, no torch.

#include <cstdint>
#include <string>
#include <vector>

namespace contrail::data {

// One rank's rows of a global batch. Images are RGB bytes, planar [n, 3, res, res]; captions are
// packed: tokens of sample i are token_ids[text_offsets[i] .. text_offsets[i+1]), starting with
// <start_of_text> and ending with <end_of_text>, at most 77 each, no padding.
struct Batch {
  int64_t num_samples = 0;
  int64_t resolution = 0;
  std::vector<uint8_t> images;
  std::vector<int32_t> token_ids;
  std::vector<int32_t> text_offsets;  // num_samples + 1
  std::vector<int64_t> labels;        // class index where the shard has .cls, else -1
  std::vector<std::string> keys;      // "shard.tar/000123"
  double load_seconds = 0;            // time spent making it (decode + read), for telemetry
};

}  // namespace contrail::data
