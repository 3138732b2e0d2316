#pragma once
// Uncompressed zip archives as torch reads them: every entry's bytes begin at a multiple of 64.

#include <string>
#include <string_view>
#include <vector>

#include "model/files/new_file.h"

namespace contrail::model::files {

class ZipWriter {
 public:
  explicit ZipWriter(NewFile* file) : file_(file) {}

  // Throws UserError E-EXPORT-SIZE where the archive passes 4 GiB (no zip64).
  void Add(const std::string& name, std::string_view bytes);
  void Finish();  // the directory

 private:
  struct Entry {
    std::string name;
    uint32_t offset, bytes, crc32;
  };
  uint32_t Narrow(uint64_t value) const;

  NewFile* file_;
  std::vector<Entry> entries_;
};

}  // namespace contrail::model::files
