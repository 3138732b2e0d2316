#include "model/files/model_weights.h"

#include "model/clip.h"

namespace contrail::model::files {

Inventory InventoryOf(const ModelSpec& spec) {
  const auto clip = ClipModel::Create(spec);
  Inventory inventory;
  for (const ParamSpec& param : clip->params()) {
    inventory.params.push_back({param.name, param.shape});
  }
  for (const BufferSpec& buffer : clip->buffers()) {
    inventory.buffers.push_back({buffer.name, buffer.shape});
  }
  return inventory;
}

uint64_t CountOf(const NamedShape& tensor) {
  uint64_t count = 1;
  for (const int64_t size : tensor.shape) count *= static_cast<uint64_t>(size);
  return count;
}

}  // namespace contrail::model::files
