#pragma once
// Where a parameter lies in files of either naming. Ours are OpenAI's and open_clip's names;
// Hugging Face's CLIPModel splits the query, key and value projections and stores the two feature
// projections transposed (transformers, models/clip/modeling_clip.py).

#include <string>
#include <vector>

#include "model/files/model_weights.h"

namespace contrail::model::files {

enum class Naming { kOpenClip, kHuggingFace };

struct FilePart {
  std::string name;
  std::vector<int64_t> shape;  // as in the file
  bool transposed = false;     // two dimensions
};

// The tensors of a file that one tensor of ours is made of, one after another along its first
// dimension. Hugging Face's naming knows ViTs only.
std::vector<FilePart> PartsOf(Naming naming, const NamedShape& ours);

// Entries of a file that are no weights: sizes, counters, masks, position numbers.
bool IsNoWeight(const std::string& name);

}  // namespace contrail::model::files
