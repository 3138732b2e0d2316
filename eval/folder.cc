#include "eval/folder.h"

#include "common/error.h"
#include "common/file_system.h"
#include "common/hash.h"
#include "data/picture_folder.h"

namespace contrail::eval {
namespace {

class Folder : public data::Dataset {
 public:
  explicit Folder(const std::string& dir) : dir_(dir) {
    names_ = data::ListPictures(dir).pictures;
    if (names_.empty()) {
      throw UserError("E-DATA-MISSING", dir,
                      "holds no tar shards and no .jpg, .jpeg, .png or .webp files",
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
