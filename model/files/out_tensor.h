#pragma once
// A tensor that a writer will ask for when its turn comes.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/files/elements.h"
#include "model/files/model_weights.h"
#include "model/files/names.h"

namespace contrail::model::files {

using Notes = std::vector<std::pair<std::string, std::string>>;

// A tensor's bytes as a file holds them; fp32 is not copied.
struct EncodedTensor {
  std::vector<float> numbers;
  std::string text;
  std::string_view bytes() const {
    if (!text.empty()) return text;
    return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)};
  }
};

struct OutTensor {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<int64_t> shape;
  std::function<std::vector<float>()> values;  // row-major

  uint64_t bytes() const { return CountOf({name, shape}) * ElementSize(type); }
  // Throws UserError E-EXPORT-RANGE where a value does not fit the type.
  EncodedTensor Encode() const;
};

// Everything `weights` holds under the names of `naming`, fp32, in the model's order; of a ResNet
// also its running statistics and batch counters. `weights` must outlive the result.
std::vector<OutTensor> OutTensors(ModelWeights& weights, Naming naming);

// What our exports note about themselves: model, activation, resolution, and the normalisation of
// images where it is not CLIP's.
Notes NotesOf(const ModelSpec& spec);

}  // namespace contrail::model::files
