#pragma once
// `contrail data check`: reads and decodes every sample of a data set.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "data/tokenizer.h"

namespace contrail::data {

struct CheckReport {
  uint64_t shards = 0;
  uint64_t samples = 0;
  uint64_t image_bytes = 0;
  uint64_t missing_captions = 0;  // none, or only white space
  std::string first_missing;      // key
  uint64_t other_encodings = 0;   // captions that are not UTF-8
  std::string first_other;        // key, and what the bytes look like
  uint64_t labelled = 0;
  uint64_t cut_captions = 0;     // longer than the context of 77 tokens
  std::vector<uint64_t> tokens;  // tokens[n]: captions of n tokens, start and end counted
  LeftOut left_out;
  std::vector<std::pair<std::string, std::string>> broken;  // message by key, in sample order

  // A set to evaluate with, which has classes instead of captions, misses none.
  MissingCaptions missing() const;
  double mean_tokens() const;
  uint64_t tokens_below(double share) const;  // smallest n that `share` of the captions stay within
};

// Uses `threads` threads; the report does not depend on how many. Torn shards throw, as
// Dataset::Open and Read do.
CheckReport CheckDataset(const Dataset& dataset, const Tokenizer& tokenizer, int threads);

std::string ReportText(const CheckReport& report);
std::string ReportJson(const CheckReport& report);  // one line

}  // namespace contrail::data
