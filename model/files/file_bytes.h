#pragma once
// A file that was written by someone else: its size is the only thing taken for true.

#include <cstdint>
#include <string>

#include "common/error.h"
#include "common/file_system.h"

namespace contrail::model::files {

// E-WEIGHTS-DAMAGED: `path` is torn, or contradicts itself.
Error Damaged(const std::string& path, const std::string& what);

class FileBytes {
 public:
  // Throws UserError E-WEIGHTS-FILE where `path` is no file or not readable.
  FileBytes(const FileSystem& fs, std::string path);

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }

  // Whether [offset, offset + count) lies inside the file, for any two numbers.
  bool Holds(uint64_t offset, uint64_t count) const {
    return offset <= size_ && count <= size_ - offset;
  }
  // Throws E-WEIGHTS-DAMAGED naming `what` where the file ends before offset + count.
  void Read(uint64_t offset, uint64_t count, void* out, const std::string& what) const;
  std::string Text(uint64_t offset, uint64_t count, const std::string& what) const;

 private:
  const FileSystem* fs_;
  std::string path_;
  uint64_t size_ = 0;
};

}  // namespace contrail::model::files
