#pragma once
// The part of Python's pickle that describes tensors: numbers, texts, tuples, lists, dictionaries,
// tensors, and (in TorchScript archives) modules with attributes. A pickle is a program; this
// interpreter knows no call but those that build a tensor, so whatever else one asks for is named
// and refused before anything happens.
//
// Formats: Python's pickletools (protocols 2 to 5); torch/_utils.py, _rebuild_tensor_v2.

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "model/files/elements.h"

namespace contrail::model::files {

struct PickleValue {
  enum class Kind {
    kNone,
    kBool,
    kInt,
    kFloat,
    kText,
    kTuple,
    kList,
    kDict,     // items: key, value, key, value ...
    kGlobal,   // text: "torch._utils._rebuild_tensor_v2"
    kStorage,  // text: its name in the archive; integer: elements; type
    kTensor,   // items[0]: storage; integer: first element; shape, strides
    kModule,   // TorchScript; items as kDict
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  double real = 0;
  std::string text = {};
  ElementType type = ElementType::kFloat32;
  std::vector<PickleValue*> items = {};
  std::vector<int64_t> shape = {}, strides = {};
};

class Pickle {
 public:
  // `where` names the pickle in messages; `modules`: TorchScript's classes are welcome. Throws
  // UserError E-WEIGHTS-PICKLE, E-WEIGHTS-DAMAGED.
  Pickle(const std::string& bytes, const std::string& where, bool modules);

  const PickleValue& root() const { return *root_; }

 private:
  friend class Unpickler;
  std::deque<PickleValue> values_;  // values point at each other
  const PickleValue* root_ = nullptr;
};

// The value of a text key in a dictionary or module, or nullptr.
const PickleValue* FindKey(const PickleValue& dict, const std::string& key);

}  // namespace contrail::model::files
