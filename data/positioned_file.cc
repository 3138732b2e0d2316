#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "common/error.h"
#include "data/tar.h"

namespace contrail::data {
namespace {

[[noreturn]] void Fail(const std::string& path, const std::string& doing, int err) {
  throw IoError(err, path, "could not " + doing);
}

std::string Absolute(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path full = std::filesystem::absolute(path, ignored);
  return full.empty() ? path : full.lexically_normal().string();
}

}  // namespace

PositionedFile::PositionedFile(const std::string& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) {
    const int err = errno;
    if (err == ENOENT || err == ENOTDIR) {
      throw UserError("E-DATA-MISSING", Absolute(path), "no such file",
                      "check the path and the numbers between the braces");
    }
    if (err == EACCES) {
      throw UserError("E-DATA-MISSING", Absolute(path), "not readable: " + ErrnoText(err));
    }
    Fail(path, "open", err);
  }
  struct stat info {};
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd_);
    throw UserError("E-DATA-MISSING", Absolute(path), "not a regular file");
  }
  size_ = static_cast<uint64_t>(info.st_size);
  mtime_ns_ = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

PositionedFile::~PositionedFile() { ::close(fd_); }

bool OutOfDescriptors(const IoError& error) {
  return error.number() == EMFILE || error.number() == ENFILE;
}

size_t PositionedFile::ReadSome(void* to, size_t size, uint64_t offset) const {
  size_t done = 0;
  while (done < size) {
    const ssize_t n =
        ::pread(fd_, static_cast<char*>(to) + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail(path_, "read at byte " + std::to_string(offset + done), errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

std::string PositionedFile::Read(uint64_t offset, size_t size) const {
  std::string bytes(size, '\0');
  const size_t got = ReadSome(bytes.data(), size, offset);
  if (got < size) {
    throw UserError("E-DATA-TAR", path_ + " at byte " + std::to_string(offset + got),
                    "the archive ends inside a member's contents",
                    "it has become shorter: copy or pack the shard again");
  }
  return bytes;
}

}  // namespace contrail::data
