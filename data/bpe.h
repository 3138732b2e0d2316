#pragma once
// The byte-pair merges: words to token ids.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace contrail::data {

// What the merges file says.
struct Vocabulary {
  std::vector<std::string> pieces;                  // by id, without the two special ones; UTF-8
  std::vector<std::pair<int32_t, int32_t>> merges;  // (left, right) ids, best first
};

// Reads a gzipped merges file: a header line, then "left right" lines, best first; the first
// 48,894 count. Throws UserError E-DATA-VOCAB with the line.
Vocabulary ReadVocabulary(const std::string& path);

class BytePairMerges {
 public:
  // Throws as ReadVocabulary.
  explicit BytePairMerges(const std::string& path);

  // Ids of one word's pieces (UTF-8, not empty). Each round merges the best pair everywhere, which
  // costs the square of the word's length: only its first kMaxWord bytes are looked at, more than
  // 77 of the longest pieces have.
  static constexpr size_t kMaxWord = 2560;
  std::vector<int32_t> Encode(std::string_view word) const;

 private:
  std::array<int32_t, 256> byte_id_;              // byte -> id; + 256 at the end of a word
  std::unordered_map<uint64_t, int32_t> merged_;  // (left, right) -> id; lower ids merge first
};

}  // namespace contrail::data
