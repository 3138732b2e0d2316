#pragma once
// A folder that appears under its name whole or not at all: made beside it under a name that
// nothing had before, and renamed.

#include "common/file_system.h"

namespace contrail::model::files {

class NewFolder {
 public:
  // Throws as RequireNew.
  NewFolder(FileSystem& fs, const std::string& path);
  ~NewFolder();  // takes away what was not committed
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::string& temporary() const { return temporary_; }  // to write into
  // Gives temporary(), or the folder `inside` it, the final name.
  void Commit(const std::string& inside = {});

 private:
  FileSystem& fs_;
  std::string path_, temporary_;
};

}  // namespace contrail::model::files
