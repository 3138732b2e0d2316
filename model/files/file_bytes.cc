#include "model/files/file_bytes.h"

#include <filesystem>

namespace contrail::model::files {

Error Damaged(const std::string& path, const std::string& what) {
  return UserError("E-WEIGHTS-DAMAGED", path, what, "fetch or copy the file again");
}

FileBytes::FileBytes(const FileSystem& fs, std::string path) : fs_(&fs), path_(std::move(path)) {
  if (!fs.Exists(path_)) throw UserError("E-WEIGHTS-FILE", path_, "there is no such file");
  std::error_code error;
  if (!std::filesystem::is_regular_file(path_, error)) {
    throw UserError("E-WEIGHTS-FILE", path_, "is no file of weights");
  }
  size_ = fs.FileSize(path_);
}

void FileBytes::Read(uint64_t offset, uint64_t count, void* out, const std::string& what) const {
  if (!Holds(offset, count)) {
    throw Damaged(path_, "ends at byte " + std::to_string(size_) + ", before the end of " + what);
  }
  if (count > 0) fs_->PRead(path_, out, count, offset);
}

std::string FileBytes::Text(uint64_t offset, uint64_t count, const std::string& what) const {
  std::string text;
  if (Holds(offset, count)) text.resize(count);  // a lie about a size takes no memory
  Read(offset, count, text.data(), what);
  return text;
}

}  // namespace contrail::model::files
