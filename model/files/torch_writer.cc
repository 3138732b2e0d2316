#include "model/files/torch_writer.h"

#include "common/error.h"
#include "model/files/weight_file.h"
#include "model/files/zip_writer.h"

namespace contrail::model::files {
namespace {

const char* StorageClass(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return "FloatStorage";
    case ElementType::kFloat16:
      return "HalfStorage";
    case ElementType::kInt64:
      return "LongStorage";
    default:
      BugAt(__FILE__, __LINE__, "a type that is exported");
  }
}

// Appends opcodes; names as in Python's pickletools.
class Pickler {
 public:
  Pickler() { bytes_ = "\x80\x02"; }  // PROTO 2
  Pickler& Op(const char* opcodes) {
    bytes_ += opcodes;
    return *this;
  }
  Pickler& Global(const std::string& module, const std::string& name) {
    bytes_ += "c" + module + "\n" + name + "\n";
    return *this;
  }
  Pickler& Text(const std::string& text) {  // BINUNICODE
    bytes_ += "X";
    Number(text.size(), 4);
    bytes_ += text;
    return *this;
  }
  Pickler& Int(uint64_t value) {  // LONG1 of 8 bytes: no model's sizes reach its sign
    bytes_ += "\x8a\x08";
    Number(value, 8);
    return *this;
  }
  Pickler& Sizes(const std::vector<int64_t>& sizes) {
    Op("(");
    for (const int64_t size : sizes) Int(static_cast<uint64_t>(size));
    return Op("t");
  }
  Pickler& EmptyOrderedDict() { return Global("collections", "OrderedDict").Op(")R"); }
  Pickler& Tensor(const OutTensor& tensor, size_t storage) {
    Global("torch._utils", "_rebuild_tensor_v2").Op("((");
    Text("storage").Global("torch", StorageClass(tensor.type)).Text(std::to_string(storage));
    Text("cpu").Int(CountOf({tensor.name, tensor.shape})).Op("tQ");  // the storage
    Int(0).Sizes(tensor.shape).Sizes(RowMajorStrides(tensor.shape));
    return Op("\x89").EmptyOrderedDict().Op("tR");  // no gradient, no hooks
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void Number(uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes_.push_back(static_cast<char>(value >> (8 * i) & 0xff));
  }
  std::string bytes_;
};

std::string PickleOf(const std::vector<OutTensor>& tensors, const Notes& notes) {
  Pickler pickler;
  if (!notes.empty()) pickler.Op("}(").Text("state_dict");
  pickler.EmptyOrderedDict().Op("(");
  for (size_t i = 0; i < tensors.size(); ++i) {
    pickler.Text(tensors[i].name).Tensor(tensors[i], i);
  }
  pickler.Op("u");
  if (!notes.empty()) {
    pickler.Text("contrail").Op("}(");
    for (const auto& [key, value] : notes) pickler.Text(key).Text(value);
    pickler.Op("uu");
  }
  return pickler.Op(".").bytes();
}

}  // namespace

void WriteTorchArchive(FileSystem& fs, const std::string& path,
                       const std::vector<OutTensor>& tensors, const Notes& notes) {
  NewFile file(fs, path);
  ZipWriter zip(&file);
  zip.Add("archive/data.pkl", PickleOf(tensors, notes));
  zip.Add("archive/byteorder", "little");
  for (size_t i = 0; i < tensors.size(); ++i) {
    zip.Add("archive/data/" + std::to_string(i), tensors[i].Encode().bytes());
  }
  zip.Add("archive/version", "3\n");
  zip.Finish();
  file.Commit();
}

}  // namespace contrail::model::files
