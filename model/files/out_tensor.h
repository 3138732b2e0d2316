#pragma once
// A tensor that a writer will ask for when its turn comes.

#include <functional>
#include <string>
#include <vector>

#include "model/files/elements.h"
#include "model/files/model_weights.h"
#include "model/files/names.h"

namespace contrail::model::files {

using Notes = std::vector<std::pair<std::string, std::string>>;

struct OutTensor {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<int64_t> shape;
  std::function<std::vector<float>()> values;  // row-major

  uint64_t bytes() const { return CountOf({name, shape}) * ElementSize(type); }
  // The values as the file holds them. Throws UserError E-EXPORT-RANGE where one does not fit the
  // type.
  std::string Encode() const;
};

// Everything `weights` holds under the names of `naming`, fp32, in the model's order; of a ResNet
// also its running statistics and batch counters. `weights` must outlive the result.
std::vector<OutTensor> OutTensors(ModelWeights& weights, Naming naming);

// What our exports note about themselves: model, activation, resolution.
Notes NotesOf(const ModelSpec& spec);

}  // namespace contrail::model::files
