#pragma once
// Tensors lying uncompressed in one or more files, whatever the format around them: where they are
// is known after opening, their values are read one tensor at a time.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/files/elements.h"
#include "model/files/file_bytes.h"

namespace contrail::model::files {

// A stretch of bytes in a file; several tensors may look into it.
struct Storage {
  size_t file = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::optional<uint32_t> crc32 = {};  // of all its bytes, where the format has one
  std::string name;                    // for messages
};

struct StoredTensor {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // elements
  size_t storage = 0;
  uint64_t first = 0;  // element of the storage
};

std::string ShapeText(const std::vector<int64_t>& shape);  // "[512, 768]"

// The product of the sizes; nothing where one is negative or the product passes 2^40.
std::optional<uint64_t> CountElements(const std::vector<int64_t>& shape);
std::vector<int64_t> RowMajorStrides(const std::vector<int64_t>& shape);

class WeightFile {
 public:
  enum class Format { kSafetensors, kTorch, kTorchScript };

  Format format = Format::kSafetensors;
  std::string path;
  std::vector<FileBytes> files;
  std::vector<Storage> storages;
  std::vector<StoredTensor> tensors;            // names are unique
  std::map<std::string, std::string> metadata;  // what the file says besides

  // Throws E-WEIGHTS-DAMAGED where a tensor reaches out of its storage, a storage out of its file,
  // or two tensors have one name.
  void Check() const;

  // All elements, row-major. Throws E-WEIGHTS-DAMAGED (checksum), E-WEIGHTS-TYPE (no floats).
  void Read(const StoredTensor& tensor, float* out);

 private:
  void ReadDense(const StoredTensor& tensor, uint64_t count, float* out);
  void ReadStrided(const StoredTensor& tensor, uint64_t count, float* out);
  template <typename Take>
  void Stream(size_t storage, uint64_t begin, uint64_t end, const Take& take);

  std::vector<bool> verified_;
};

}  // namespace contrail::model::files
