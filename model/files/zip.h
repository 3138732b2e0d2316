#pragma once
// The directory of a zip archive, taken for untrue until checked: torch.save's archives hold their
// tensors uncompressed, so an entry is a stretch of the file and nothing is ever inflated.
// Format: PKWARE APPNOTE 6.3.3, zip64 included.

#include <cstdint>
#include <map>
#include <string>

#include "model/files/file_bytes.h"

namespace contrail::model::files {

struct ZipEntry {
  uint64_t offset = 0;  // of its bytes
  uint64_t bytes = 0;   // as stored
  uint64_t inflated = 0;
  uint32_t crc32 = 0;
  bool stored = true;  // not compressed
};

bool LooksLikeZip(const FileBytes& file);

// Entries by name. Throws UserError E-WEIGHTS-DAMAGED where the directory is torn, contradicts the
// entries' own headers, or names entries that overlap, lie outside the file or are there twice.
std::map<std::string, ZipEntry> ReadZipDirectory(const FileBytes& file);

// A stored entry's contents, its checksum verified. Throws E-WEIGHTS-DAMAGED, E-WEIGHTS-COMPRESSED,
// and E-WEIGHTS-PICKLE where it is larger than `limit`.
std::string ReadZipText(const FileBytes& file, const std::string& name, const ZipEntry& entry,
                        uint64_t limit);

// Throws UserError E-WEIGHTS-COMPRESSED unless the entry is stored.
void RequireStored(const FileBytes& file, const std::string& name, const ZipEntry& entry);

}  // namespace contrail::model::files
