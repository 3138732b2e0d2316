#pragma once
// CLIP's byte-pair encoding (Radford et al. 2021; reference: openai/CLIP clip/simple_tokenizer.py,
// open_clip tokenizer.py). Vocabulary 49,408; <start_of_text> 49406, <end_of_text> 49407.
// Ids equal open_clip's but for captions whose text was decoded with the wrong encoding
// (data/text_clean.h says what of the reference's cleaning is done).

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace contrail::data {

inline constexpr int32_t kStartOfText = 49406;
inline constexpr int32_t kEndOfText = 49407;
inline constexpr int kContextLength = 77;

// The merges file shipped with this program: share/contrail beside its bin/.
std::string ShippedMerges();

class Tokenizer {
 public:
  // `merges`: a bpe_simple_vocab_16e6.txt.gz; "" finds the one shipped beside this program
  // (<program>/../share/contrail/). Throws UserError E-DATA-VOCAB.
  static std::shared_ptr<const Tokenizer> Load(const std::string& merges = "");
  virtual ~Tokenizer() = default;

  // Token ids between start and end, cut to 77 with the last one <end_of_text>. A literal
  // "<end_of_text>" ends the text: open_clip takes the features of the first one, and what comes
  // after it has no part in them. Of a long text the first 8 kB are looked at. Thread safe: words
  // met before are remembered per thread.
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
};

}  // namespace contrail::data
