#pragma once
// All values of one model, read one tensor at a time, wherever they lie: a file of weights, a
// committed checkpoint.

#include <string>
#include <vector>

#include "model/param.h"
#include "model/registry.h"

namespace contrail::model::files {

struct NamedShape {
  std::string name;  // as in OpenAI's and open_clip's state dict
  std::vector<int64_t> shape;
};

// A model's parameters, in the model's order, then its running statistics.
struct Inventory {
  std::vector<NamedShape> params;
  std::vector<NamedShape> buffers;
};
Inventory InventoryOf(const ModelSpec& spec);
uint64_t CountOf(const NamedShape& tensor);  // elements

class ModelWeights {
 public:
  virtual ~ModelWeights() = default;
  virtual const ModelSpec& spec() const = 0;
  virtual const Inventory& inventory() const = 0;
  // fp32, row-major, CountOf(...) elements.
  virtual void ReadParam(size_t index, float* out) = 0;
  virtual void ReadBuffer(size_t index, float* out) = 0;
};

}  // namespace contrail::model::files
