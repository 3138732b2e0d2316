#include "data/hf_tokenizer.h"

#include <nlohmann/json.hpp>

#include "data/bpe.h"
#include "data/tokenizer.h"

namespace contrail::data {

std::vector<std::pair<std::string, std::string>> HuggingFaceTokenizerFiles(
    const std::string& merges) {
  using Json = nlohmann::ordered_json;
  const Vocabulary vocabulary = ReadVocabulary(merges.empty() ? ShippedMerges() : merges);
  const std::string start = "<|startoftext|>", end = "<|endoftext|>";
  std::string ids = "{";
  int32_t next = 0;
  for (const std::string& piece : vocabulary.pieces) {
    ids += Json(piece).dump() + ": " + std::to_string(next++) + ",\n";
  }
  ids += Json(start).dump() + ": " + std::to_string(kStartOfText) + ",\n";
  ids += Json(end).dump() + ": " + std::to_string(kEndOfText) + "}\n";

  std::string lines = "#version: 0.2\n";
  for (const auto& [left, right] : vocabulary.merges) {
    lines += vocabulary.pieces[static_cast<size_t>(left)] + " " +
             vocabulary.pieces[static_cast<size_t>(right)] + "\n";
  }

  Json special = {{"bos_token", start}, {"eos_token", end}, {"unk_token", end}, {"pad_token", end}};
  Json config = special;
  config["tokenizer_class"] = "CLIPTokenizer";
  config["model_max_length"] = kContextLength;
  config["do_lower_case"] = true;
  config["errors"] = "replace";
  return {{"vocab.json", ids},
          {"merges.txt", lines},
          {"tokenizer_config.json", config.dump(2) + "\n"},
          {"special_tokens_map.json", special.dump(2) + "\n"}};
}

}  // namespace contrail::data
