#include "model/files/sharded.h"

#include "common/escape.h"
#include "model/files/strict_json.h"

namespace contrail::model::files {
namespace {

constexpr uint64_t kMostIndexBytes = 100'000'000;

// Which file each tensor lies in.
std::map<std::string, std::string> ReadMap(const FileSystem& fs, const std::string& index) {
  const FileBytes bytes(fs, index);
  const auto json = ParseStrictJson(bytes.Text(0, std::min(bytes.size(), kMostIndexBytes), index),
                                    "E-WEIGHTS-CONFIG", index);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    throw UserError("E-WEIGHTS-CONFIG", index, "has no weight_map");
  }
  std::map<std::string, std::string> file_of;
  for (const auto& [name, value] : json["weight_map"].items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    if (file.empty() || file.size() > kLongestName || file.find('/') != std::string::npos) {
      throw UserError("E-WEIGHTS-CONFIG", index,
                      "'" + EscapeShort(name) + "' lies in no file beside it");
    }
    file_of[name] = file;
  }
  return file_of;
}

// Tensors, storages and files of `part`, behind those that are there.
void Append(WeightFile part, WeightFile* whole) {
  for (StoredTensor& tensor : part.tensors) {
    tensor.storage += whole->storages.size();
    whole->tensors.push_back(std::move(tensor));
  }
  for (Storage& storage : part.storages) {
    storage.file += whole->files.size();
    whole->storages.push_back(std::move(storage));
  }
  for (FileBytes& file : part.files) whole->files.push_back(std::move(file));
  whole->metadata.merge(part.metadata);
}

}  // namespace

WeightFile OpenSharded(const FileSystem& fs, const std::string& index,
                       const std::function<WeightFile(const std::string& path)>& open) {
  std::map<std::string, std::string> file_of = ReadMap(fs, index);
  const std::string dir = index.substr(0, index.rfind('/') + 1);
  std::map<std::string, WeightFile> parts;
  for (const auto& [name, file] : file_of) {
    if (!parts.contains(file)) parts[file] = open(dir + file);
  }
  WeightFile whole;
  whole.path = index;
  for (auto& [file, part] : parts) {
    whole.format = part.format;
    for (const StoredTensor& tensor : part.tensors) {
      const auto mapped = file_of.find(tensor.name);
      if (mapped == file_of.end() || mapped->second != file) {
        throw Damaged(dir + file, "holds '" + tensor.name + "', which the index does not say");
      }
      file_of.erase(mapped);
    }
    Append(std::move(part), &whole);
  }
  if (!file_of.empty()) {
    throw Damaged(index, "'" + file_of.begin()->first + "' is not in " + file_of.begin()->second);
  }
  whole.Check();
  return whole;
}

}  // namespace contrail::model::files
