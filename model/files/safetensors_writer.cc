#include "model/files/safetensors_writer.h"

#include <nlohmann/json.hpp>

#include "common/error.h"

namespace contrail::model::files {
namespace {

const char* TypeName(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return "F32";
    case ElementType::kFloat16:
      return "F16";
    case ElementType::kInt64:
      return "I64";
    default:
      BugAt(__FILE__, __LINE__, "a type that is exported");
  }
}

}  // namespace

void WriteSafetensors(FileSystem& fs, const std::string& path,
                      const std::vector<OutTensor>& tensors, const Notes& notes) {
  nlohmann::ordered_json header;
  header["__metadata__"]["format"] = "pt";  // transformers asks for it
  for (const auto& [key, value] : notes) header["__metadata__"]["contrail." + key] = value;
  // The reference writer puts wide types first, so that every tensor is aligned to its type.
  std::vector<const OutTensor*> order;
  for (const OutTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const OutTensor* a, const OutTensor* b) {
    return ElementSize(a->type) > ElementSize(b->type);
  });
  uint64_t at = 0;
  for (const OutTensor* tensor : order) {
    header[tensor->name] = {{"dtype", TypeName(tensor->type)},
                            {"shape", tensor->shape},
                            {"data_offsets", {at, at + tensor->bytes()}}};
    at += tensor->bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);

  NewFile file(fs, path);
  file.Append(length);
  file.Append(text);
  for (const OutTensor* tensor : order) file.Append(tensor->Encode().bytes());
  file.Commit();
}

}  // namespace contrail::model::files
