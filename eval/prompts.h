#pragma once
// Class names and prompt templates of a zero-shot data set.
//
// Layout of a data set directory (as CLIP_benchmark's WebDataset exports):
//   classnames.txt                          one name a line; line n is class n
//   zeroshot_classification_templates.txt   one template a line, the name's place is {} or {c}
//   *.tar, or test/*.tar                    images with a .cls member

#include <string>
#include <vector>

namespace contrail::eval {

struct PromptSet {
  std::vector<std::string> class_names;
  std::vector<std::string> templates;
};

// The paper's single prompt: "a photo of a {}."
inline constexpr const char* kOnePrompt = "a photo of a {}.";

// Reads both text files. Throws UserError E-EVAL-DATASET naming the file or line.
PromptSet ReadPrompts(const std::string& dataset_dir);

// The tar shards of a data set directory, sorted. Throws UserError E-EVAL-DATASET.
std::vector<std::string> FindShards(const std::string& dataset_dir);

// "a photo of a {}." + "bag" -> "a photo of a bag."
std::string FillTemplate(const std::string& text, const std::string& class_name);

}  // namespace contrail::eval
