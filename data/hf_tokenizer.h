#pragma once
// CLIP's tokenizer in the files that Hugging Face's CLIPTokenizer reads.

#include <string>
#include <utility>
#include <vector>

namespace contrail::data {

// File names and contents: vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json.
// `merges` as in Tokenizer::Load. Throws UserError E-DATA-VOCAB.
std::vector<std::pair<std::string, std::string>> HuggingFaceTokenizerFiles(
    const std::string& merges = "");

}  // namespace contrail::data
