#include "data/picture_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <utility>

#include "common/error.h"
#include "common/file_system.h"

namespace contrail::data {
namespace {

using Identity = std::pair<dev_t, ino_t>;

class Walk {
 public:
  explicit Walk(const std::string& root) : root_(root) {}

  PictureFolder Run() {
    Enter("");
    std::sort(found_.pictures.begin(), found_.pictures.end());
    return std::move(found_);
  }

 private:
  std::string Path(const std::string& relative) const {
    return relative.empty() ? root_ : root_ + "/" + relative;
  }

  struct stat Status(const std::string& relative) const {
    struct stat info {};
    if (::stat(Path(relative).c_str(), &info) == 0) return info;
    const int err = errno;
    if (err == ENOENT) Bad(relative, "a link to something that is not there");
    if (err == ELOOP) Bad(relative, "a link that leads to itself");
    throw IoError(err, Path(relative), "could not look at it");
  }

  [[noreturn]] void Bad(const std::string& relative, const std::string& what) const {
    throw UserError("E-DATA-FOLDER", Path(relative), what, "remove the link, or mend it");
  }

  void Enter(const std::string& folder) {
    const struct stat info = Status(folder);
    const Identity identity(info.st_dev, info.st_ino);
    if (std::find(above_.begin(), above_.end(), identity) != above_.end()) {
      Bad(folder, "a link that leads back to a folder above it");
    }
    above_.push_back(identity);
    for (const std::string& name : PosixFileSystem().List(Path(folder))) {
      Visit(folder.empty() ? name : folder + "/" + name, name);
    }
    above_.pop_back();
  }

  void Visit(const std::string& relative, const std::string& name) {
    const EntryKind kind = PosixFileSystem().KindOf(Path(relative));
    const bool hidden = name.starts_with(".");
    if (hidden && kind != EntryKind::kDirectory) return;
    if (kind == EntryKind::kDirectory || S_ISDIR(Status(relative).st_mode)) return Enter(relative);
    const std::string extension = ExtensionOf(name);
    if (!S_ISREG(Status(relative).st_mode)) return;
    if (IsPictureExtension(extension)) {
      found_.pictures.push_back(relative);
    } else {
      CountLeftOut(extension, found_.left_out);
    }
  }

  const std::string root_;
  std::vector<Identity> above_;  // folders that the walk is in
  PictureFolder found_;
};

}  // namespace

std::string ExtensionOf(const std::string& path) {
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos || path.find('/', dot) != std::string::npos) return "";
  std::string extension = path.substr(dot + 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

PictureFolder ListPictures(const std::string& folder) { return Walk(folder).Run(); }

}  // namespace contrail::data
