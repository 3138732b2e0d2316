#pragma once
// POSIX tar, the part WebDataset shards use: regular files; ustar prefixes, GNU long names and pax
// headers (path, size) are understood, everything else is stepped over.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "common/error.h"

namespace contrail::data {

// An open file read by position; any number of threads may read at once.
class PositionedFile {
 public:
  // Throws UserError E-DATA-MISSING naming the absolute path, or IoError E-IO.
  explicit PositionedFile(const std::string& path);
  ~PositionedFile();
  PositionedFile(const PositionedFile&) = delete;
  PositionedFile& operator=(const PositionedFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  int64_t mtime_ns() const { return mtime_ns_; }

  // Up to `size` bytes at `offset`; fewer only at the end of the file. Throws E-IO.
  size_t ReadSome(void* to, size_t size, uint64_t offset) const;
  // Exactly `size` bytes. Throws UserError E-DATA-TAR where the file ends before them.
  std::string Read(uint64_t offset, size_t size) const;

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  int64_t mtime_ns_ = 0;
};

// True where the process (or the system) may not open one more file.
bool OutOfDescriptors(const IoError& error);

struct TarMember {
  std::string name;
  uint64_t offset = 0;  // of the contents
  uint64_t size = 0;
};

// An archive that ends too early (E-DATA-TAR): a copy that stopped half-way. What was visited
// before is whole, as far as it goes.
class TornTail : public Error {
 public:
  TornTail(const Error& error, std::string member) : Error(error), member_(std::move(member)) {}
  const std::string& member() const { return member_; }  // it ends in; "" where that is not known

 private:
  std::string member_;
};

// Calls `visit` for every regular file, in order. Throws UserError E-DATA-TAR with path and byte
// offset where the archive is torn: a bad checksum, a header or contents beyond the end of the
// file, no end-of-archive marker (a copy that stopped between two members would go unnoticed).
// Where it is whole up to a point and just ends there, the error is a TornTail.
void ScanTar(const PositionedFile& file, const std::function<void(const TarMember&)>& visit);

// The 512-byte header of a regular file with fixed owner and time, so that packing the same input
// gives the same bytes. `name` of up to 100 bytes (longer ones get a GNU long-name record before
// the header).
std::string TarHeader(std::string_view name, uint64_t size);

inline constexpr uint64_t kTarBlock = 512;
inline uint64_t TarPadding(uint64_t size) { return (kTarBlock - size % kTarBlock) % kTarBlock; }

}  // namespace contrail::data
