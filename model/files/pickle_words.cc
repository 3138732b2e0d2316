#include "model/files/pickle_words.h"

namespace contrail::model::files {

const std::map<std::string, ElementType>& StorageTypes() {
  static const std::map<std::string, ElementType> types = {
      {"torch.DoubleStorage", ElementType::kFloat64},
      {"torch.FloatStorage", ElementType::kFloat32},
      {"torch.HalfStorage", ElementType::kFloat16},
      {"torch.BFloat16Storage", ElementType::kBFloat16},
      {"torch.LongStorage", ElementType::kInt64},
      {"torch.IntStorage", ElementType::kInt32},
      {"torch.ShortStorage", ElementType::kInt16},
      {"torch.CharStorage", ElementType::kInt8},
      {"torch.ByteStorage", ElementType::kUInt8},
      {"torch.BoolStorage", ElementType::kBool}};
  return types;
}

bool IsListBuilder(const std::string& name) {
  return name == "torch.jit._pickle.build_intlist" || name == "torch.jit._pickle.build_boollist" ||
         name == "torch.jit._pickle.build_doublelist" ||
         name == "torch.jit._pickle.build_tensorlist";
}

bool IsModule(const std::string& name) { return name.starts_with("__torch__."); }

bool IsKnown(const std::string& name) {
  return name == "collections.OrderedDict" || name == "torch._utils._rebuild_tensor_v2" ||
         name == "torch._utils._rebuild_parameter" || StorageTypes().contains(name);
}

}  // namespace contrail::model::files
