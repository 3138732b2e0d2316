#include "model/files/torch_archive.h"

#include <algorithm>
#include <set>

#include "common/escape.h"
#include "model/files/pickle.h"
#include "model/files/strict_json.h"
#include "model/files/zip.h"

namespace contrail::model::files {
namespace {

using Kind = PickleValue::Kind;

constexpr uint64_t kMostPickleBytes = 64 << 20;
constexpr int kMostNesting = 64;
constexpr size_t kMostVisits = 200'000;  // modules may be shared: a tree can be far larger than the
                                         // file
constexpr const char* kOurNotes = "contrail";  // model and activation (torch_writer.h)

class ArchiveReader {
 public:
  ArchiveReader(const FileSystem& fs, const std::string& path) {
    file_.path = path;
    file_.files.emplace_back(fs, path);
    entries_ = ReadZipDirectory(file_.files[0]);
    FindRoot();
    const std::string order = Optional("byteorder");
    if (!order.empty() && order != "little") {
      throw UserError("E-WEIGHTS-FILE", path, "holds big-endian numbers",
                      "write it on a little-endian machine");
    }
    const bool script = entries_.contains(root_ + "constants.pkl");
    file_.format = script ? WeightFile::Format::kTorchScript : WeightFile::Format::kTorch;
    const std::string name = root_ + "data.pkl";
    const Pickle pickle(ReadZipText(file_.files[0], name, entries_.at(name), kMostPickleBytes),
                        path, script);
    script ? AddModule(pickle.root(), "", 0) : AddStateDict(pickle.root());
    file_.Check();
  }

  WeightFile Take() { return std::move(file_); }

 private:
  // The one directory inside the archive that holds data.pkl.
  void FindRoot() {
    int found = 0;
    for (const auto& [name, entry] : entries_) {
      const size_t slash = name.find('/');
      if (slash != std::string::npos && name.substr(slash) == "/data.pkl") {
        root_ = name.substr(0, slash + 1);
        ++found;
      }
    }
    if (found == 1) return;
    throw UserError("E-WEIGHTS-FILE", file_.path,
                    "is a zip archive, but none that torch.save wrote (it has " +
                        std::string(found == 0 ? "no" : "several") + " data.pkl)");
  }

  std::string Optional(const std::string& name) const {
    const auto found = entries_.find(root_ + name);
    return found == entries_.end()
               ? ""
               : ReadZipText(file_.files[0], found->first, found->second, /*limit=*/1024);
  }

  Error Refused(const std::string& what) const {
    return UserError("E-WEIGHTS-PICKLE", file_.path, what, "keep to a state dict of tensors");
  }

  // A pickle may say one text many times at no cost; what is made of it here costs each time.
  void CheckName(const std::string& name) const {
    if (name.size() <= kLongestName) return;
    throw Refused("holds a name of " + std::to_string(name.size()) + " bytes, '" +
                  EscapeShort(name) + "'");
  }

  void AddTensor(const std::string& name, const PickleValue& value) {
    const PickleValue& source = *value.items[0];
    CheckName(name);
    CheckName(source.text);
    if (!names_.insert(name).second) throw Damaged(file_.path, "holds '" + name + "' twice");
    if (names_.size() > kMostTensors) {
      throw Refused("holds more than " + std::to_string(kMostTensors) + " tensors");
    }
    StoredTensor tensor{name,          value.type, value.shape,
                        value.strides, 0,          static_cast<uint64_t>(value.integer)};
    const auto known = storage_of_.find(source.text);
    if (known != storage_of_.end()) {
      tensor.storage = known->second;
    } else {
      const std::string entry_name = root_ + "data/" + source.text;
      const auto entry = entries_.find(entry_name);
      if (entry == entries_.end()) {
        throw Damaged(file_.path, "'" + name + "' lies in '" + entry_name + "', which is missing");
      }
      RequireStored(file_.files[0], entry_name, entry->second);
      tensor.storage = file_.storages.size();
      storage_of_[source.text] = tensor.storage;
      file_.storages.push_back(
          {0, entry->second.offset, entry->second.bytes, entry->second.crc32, entry_name});
    }
    file_.tensors.push_back(std::move(tensor));
  }

  void AddStateDict(const PickleValue& root) {
    if (root.kind != Kind::kDict) throw Refused("is no dictionary of tensors");
    const PickleValue* dict = FindKey(root, "state_dict");
    if (dict == nullptr) dict = &root;
    if (dict->kind != Kind::kDict) throw Refused("has a state_dict that is no dictionary");
    if (const PickleValue* notes = FindKey(root, kOurNotes)) AddNotes(*notes);
    for (size_t i = 0; i < dict->items.size(); i += 2) {
      const PickleValue& key = *dict->items[i];
      if (key.kind != Kind::kText) throw Refused("has a key that is no text");
      if (dict->items[i + 1]->kind != Kind::kTensor) {
        throw Refused("holds '" + EscapeShort(key.text) + "', which is no tensor");
      }
      AddTensor(key.text, *dict->items[i + 1]);
    }
  }

  void AddNotes(const PickleValue& notes) {
    for (size_t i = 0; i + 1 < notes.items.size() && notes.kind == Kind::kDict; i += 2) {
      const PickleValue &key = *notes.items[i], &note = *notes.items[i + 1];
      if (key.kind != Kind::kText || note.kind != Kind::kText) continue;
      if (key.text.size() > kLongestName || note.text.size() > kLongestName) continue;
      file_.metadata[std::string(kOurNotes) + "." + key.text] = note.text;
    }
  }

  void AddModule(const PickleValue& module, const std::string& prefix, int depth) {
    if (module.kind != Kind::kModule) throw Refused("is a TorchScript archive without a module");
    if (depth > kMostNesting || ++visits_ > kMostVisits) {
      throw Refused("holds a tree of modules without an end");
    }
    for (size_t i = 0; i + 1 < module.items.size(); i += 2) {
      const PickleValue& value = *module.items[i + 1];
      if (module.items[i]->kind != Kind::kText) throw Refused("has an attribute without a name");
      CheckName(module.items[i]->text);
      const std::string name = prefix + module.items[i]->text;
      CheckName(name);
      if (value.kind == Kind::kModule) AddModule(value, name + ".", depth + 1);
      if (value.kind != Kind::kTensor) continue;  // flags and sizes that the code reads
      if (++visits_ > kMostVisits) throw Refused("holds a tree of modules without an end");
      AddTensor(name, value);
    }
  }

  WeightFile file_;
  std::map<std::string, ZipEntry> entries_;
  std::string root_;  // "archive/"
  std::map<std::string, size_t> storage_of_;
  std::set<std::string> names_;
  size_t visits_ = 0;
};

}  // namespace

WeightFile OpenTorchArchive(const FileSystem& fs, const std::string& path) {
  return ArchiveReader(fs, path).Take();
}

}  // namespace contrail::model::files
