#pragma once
// What the loader hands to the trainer: plain memory, no torch.

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace contrail::data {

// A place in the order of samples.
struct Place {
  uint64_t epoch = 0;
  uint64_t position = 0;
  auto operator<=>(const Place&) const = default;
};

// A place whose own sample could not be used, and what is there instead (data/replace.h).
struct Replaced {
  Place place;
  uint64_t sample = 0;      // whose place it is
  std::string key;          // "shard.tar/000123"
  uint64_t with = 0;        // the sample that took it
  std::string with_key;     //
  int tries = 0;            // substitutes drawn; `with` is the last
  bool unreadable = false;  // the disk did not give the sample up; else its bytes are no sample
  std::string why;          // the whole error line
  bool operator==(const Replaced&) const = default;
};

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
  std::vector<Replaced> replaced;     // ascending places; of a BatchLoader only
  uint64_t consumed = 0;              // sum of ConsumedDigest over the rows; of a BatchLoader only
  double load_seconds = 0;            // time spent making it (decode + read), for telemetry
};

}  // namespace contrail::data
