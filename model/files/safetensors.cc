#include "model/files/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/escape.h"
#include "model/files/strict_json.h"

namespace contrail::model::files {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMostHeaderBytes = 100'000'000;  // as the reference implementation

uint64_t HeaderBytes(const FileBytes& file) {
  std::array<unsigned char, kLengthBytes> bytes{};
  file.Read(0, kLengthBytes, bytes.data(), "the header's length");
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | bytes[i];
  return length;
}

std::optional<ElementType> TypeOf(const std::string& name) {
  static const std::map<std::string, ElementType> types = {
      {"F64", ElementType::kFloat64},   {"F32", ElementType::kFloat32},
      {"F16", ElementType::kFloat16},   {"BF16", ElementType::kBFloat16},
      {"I64", ElementType::kInt64},     {"U64", ElementType::kInt64},
      {"I32", ElementType::kInt32},     {"U32", ElementType::kInt32},
      {"I16", ElementType::kInt16},     {"U16", ElementType::kInt16},
      {"I8", ElementType::kInt8},       {"U8", ElementType::kUInt8},
      {"BOOL", ElementType::kBool},     {"F8_E4M3", ElementType::kOther8},
      {"F8_E5M2", ElementType::kOther8}};
  const auto found = types.find(name);
  return found == types.end() ? std::nullopt : std::optional(found->second);
}

class HeaderReader {
 public:
  HeaderReader(const FileSystem& fs, const std::string& path) {
    file_.path = path;
    file_.files.emplace_back(fs, path);
    const FileBytes& bytes = file_.files[0];
    const uint64_t length = HeaderBytes(bytes);
    if (length > kMostHeaderBytes) {
      throw Damaged(path, "gives its header " + std::to_string(length) + " bytes");
    }
    data_ = kLengthBytes + length;
    const Json header = ParseStrictJson(bytes.Text(kLengthBytes, length, "its header"),
                                        "E-WEIGHTS-DAMAGED", path + ", header");
    if (!header.is_object()) throw Damaged(path, "has a header that is no JSON object");
    for (const auto& [name, entry] : header.items()) {
      name == "__metadata__" ? AddMetadata(entry) : AddTensor(name, entry);
    }
    CheckGapless();
    file_.Check();
  }

  WeightFile Take() { return std::move(file_); }

 private:
  void AddMetadata(const Json& entry) {
    if (!entry.is_object()) throw Damaged(file_.path, "has a __metadata__ that is no object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) throw Damaged(file_.path, "has a __metadata__ that is no text");
      file_.metadata[key] = value.get<std::string>();
    }
  }

  void AddTensor(const std::string& name, const Json& entry) {
    const auto bad = [&](const std::string& what) {
      return Damaged(file_.path, "header, '" + EscapeShort(name) + "': " + what);
    };
    if (name.size() > kLongestName)
      throw bad("a name of " + std::to_string(name.size()) + " bytes");
    if (file_.tensors.size() == kMostTensors) {
      throw bad("there are more than " + std::to_string(kMostTensors) + " tensors");
    }
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
        !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
        !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2) {
      throw bad("lacks dtype, shape or data_offsets");
    }
    StoredTensor tensor;
    tensor.name = name;
    const auto type = TypeOf(entry["dtype"].get<std::string>());
    if (!type) throw bad("unknown dtype " + EscapeShort(entry["dtype"].get<std::string>()));
    tensor.type = *type;
    for (const Json& size : entry["shape"]) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > INT64_MAX) throw bad("bad shape");
      tensor.shape.push_back(size.get<int64_t>());
    }
    const auto count = CountElements(tensor.shape);
    const Json& offsets = entry["data_offsets"];
    if (!count || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
      throw bad("bad shape or offsets");
    }
    const auto begin = offsets[0].get<uint64_t>();
    const auto end = offsets[1].get<uint64_t>();
    if (end < begin || end - begin != *count * ElementSize(tensor.type)) {
      throw bad("its offsets do not fit its shape");
    }
    if (end > UINT64_MAX - data_) throw bad("bad offsets");
    tensor.strides = RowMajorStrides(tensor.shape);
    tensor.storage = file_.storages.size();
    file_.storages.push_back({0, data_ + begin, end - begin, std::nullopt, name});
    file_.tensors.push_back(std::move(tensor));
  }

  // The format allows neither holes nor overlaps.
  void CheckGapless() const {
    std::vector<const Storage*> order;
    for (const Storage& storage : file_.storages) order.push_back(&storage);
    std::sort(order.begin(), order.end(), [](const Storage* a, const Storage* b) {
      return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
    });
    uint64_t at = data_;
    for (const Storage* storage : order) {
      if (storage->offset != at) {
        throw Damaged(file_.path, "'" + storage->name +
                                      "' does not begin where the one before it "
                                      "ends");
      }
      at += storage->bytes;
    }
    if (at == file_.files[0].size()) return;
    throw Damaged(file_.path, "has " + std::to_string(file_.files[0].size()) +
                                  " bytes where its "
                                  "header says " +
                                  std::to_string(at) +
                                  (at > file_.files[0].size() ? ": it is cut short" : ""));
  }

  WeightFile file_;
  uint64_t data_ = 0;  // first byte of the values
};

}  // namespace

bool LooksLikeSafetensors(const FileBytes& file) {
  if (file.size() < kLengthBytes + 2) return false;
  char first = 0;
  file.Read(kLengthBytes, 1, &first, "its header");
  return first == '{' && HeaderBytes(file) <= kMostHeaderBytes;
}

WeightFile OpenSafetensors(const FileSystem& fs, const std::string& path) {
  return HeaderReader(fs, path).Take();
}

}  // namespace contrail::model::files
