#include "eval/folder.h"

#include <algorithm>
#include <filesystem>

#include "common/error.h"
#include "common/file_system.h"
#include "common/hash.h"

namespace contrail::eval {
namespace {

bool IsImage(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

class Folder : public data::Dataset {
 public:
  explicit Folder(const std::string& dir) : dir_(dir) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) {
      if (entry.is_regular_file() && IsImage(entry.path())) {
        names_.push_back(std::filesystem::relative(entry.path(), dir).string());
      }
    }
    std::sort(names_.begin(), names_.end());
    if (names_.empty()) {
      throw UserError("E-DATA-MISSING", dir, "holds no tar shards and no .jpg, .jpeg or .png files",
                      "give a folder of images, or tar shards");
    }
  }

  uint64_t size() const override { return names_.size(); }
  std::vector<uint64_t> shard_sizes() const override { return {names_.size()}; }
  std::string Key(uint64_t sample) const override { return names_[sample]; }
  std::string Fingerprint() const override {
    uint64_t hash = 0;
    for (const std::string& name : names_) hash = Fnv1a(Hex64(hash) + name);
    return Hex64(hash);
  }
  Sample Read(uint64_t sample) const override {
    return {PosixFileSystem().ReadAll(dir_ + "/" + names_[sample]), "", -1};
  }

 private:
  std::string dir_;
  std::vector<std::string> names_;
};

}  // namespace

std::shared_ptr<const data::Dataset> OpenFolder(const std::string& dir) {
  return std::make_shared<Folder>(dir);
}

}  // namespace contrail::eval
