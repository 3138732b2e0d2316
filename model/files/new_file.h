#pragma once
// A file that appears under its name whole or not at all: written beside it, synced, renamed.

#include <memory>
#include <string>
#include <string_view>

#include "common/file_system.h"

namespace contrail::model::files {

// Throws UserError E-OUT-EXISTS where there is something of that name, E-OUT-DIR where the folder
// around it is missing.
void RequireNew(const FileSystem& fs, const std::string& path);

// Another name each time, beside `path`: for what is written there before it gets that name.
std::string TemporaryName(const std::string& path);

class NewFile {
 public:
  NewFile(FileSystem& fs, std::string path);
  ~NewFile();  // without Commit() nothing is left

  void Append(std::string_view bytes) { Append(bytes.data(), bytes.size()); }
  void Append(const void* bytes, uint64_t size);
  void Overwrite(uint64_t offset, std::string_view bytes);  // what was appended before
  uint64_t size() const { return size_; }

  void Commit();

 private:
  FileSystem& fs_;
  std::string path_, temporary_;
  std::unique_ptr<WritableFile> file_;
  uint64_t size_ = 0;
};

}  // namespace contrail::model::files
