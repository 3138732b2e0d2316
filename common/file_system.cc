#include "common/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/error.h"

namespace contrail {
namespace {

[[noreturn]] void Fail(const std::string& path, const std::string& doing) {
  const int err = errno;
  const std::string what = "could not " + doing + ": " + ErrnoText(err);
  // What no restart cures but the user can.
  if (err == ENOSPC || err == EDQUOT || err == EFBIG) {
    throw UserError("E-IO", path, what, "free some space or quota there and start again");
  }
  if (err == EACCES || err == EPERM || err == EROFS) {
    throw UserError("E-IO", path, what, "choose a place you may write to");
  }
  throw EnvironmentError("E-IO", path, what);
}

class PosixFile : public WritableFile {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override {
    if (fd_ >= 0) ::close(fd_);
  }

  void PWrite(const void* data, size_t size, uint64_t offset) override {
    const char* p = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t n = ::pwrite(fd_, p, size, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) Fail(path_, "write");
      p += n;
      size -= static_cast<size_t>(n);
      offset += static_cast<uint64_t>(n);
    }
  }

  void Sync() override {
    if (::fsync(fd_) != 0) Fail(path_, "fsync");
  }

  void Close() override {
    if (::close(std::exchange(fd_, -1)) != 0) Fail(path_, "close");
  }

 private:
  int fd_;
  std::string path_;
};

class Posix : public FileSystem {
 public:
  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override {
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC;
    if (mode == Mode::kExclusive) flags |= O_EXCL;
    if (mode == Mode::kTruncate) flags |= O_TRUNC;
    const int fd = ::open(path.c_str(), flags, 0644);
    if (fd < 0) Fail(path, "create");
    return std::make_unique<PosixFile>(fd, path);
  }

  void Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) Fail(from, "rename to " + to);
  }

  void SyncDir(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) Fail(path, "open the directory");
    const int result = ::fsync(fd);
    const int err = errno;
    ::close(fd);
    errno = err;
    if (result != 0 && err != EINVAL) Fail(path, "fsync the directory");
  }

  void MakeDir(const std::string& path) override {
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) Fail(path, "make the directory");
  }

  void RemoveFile(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) Fail(path, "remove");
  }

  void RemoveDir(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0) Fail(path, "remove the directory");
  }

  bool Exists(const std::string& path) const override {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0;
  }

  uint64_t FileSize(const std::string& path) const override {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) Fail(path, "stat");
    return static_cast<uint64_t>(info.st_size);
  }

  std::vector<std::string> List(const std::string& path) const override {
    std::vector<std::string> names;
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) return names;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(dir);
    std::sort(names.begin(), names.end());
    return names;
  }

  void PRead(const std::string& path, void* data, size_t size, uint64_t offset) const override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) Fail(path, "open");
    char* p = static_cast<char*>(data);
    while (size > 0) {
      const ssize_t n = ::pread(fd, p, size, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        const int err = n == 0 ? ENODATA : errno;
        ::close(fd);
        errno = err;
        Fail(path, "read " + std::to_string(size) + " bytes at " + std::to_string(offset));
      }
      p += n;
      size -= static_cast<size_t>(n);
      offset += static_cast<uint64_t>(n);
    }
    ::close(fd);
  }
};

std::string Parent(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::string FileSystem::ReadAll(const std::string& path) const {
  std::string text(FileSize(path), '\0');
  if (!text.empty()) PRead(path, text.data(), text.size(), 0);
  return text;
}

void FileSystem::WriteAtomically(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  auto file = Open(temporary, Mode::kTruncate);
  file->PWrite(text.data(), text.size(), 0);
  file->Sync();
  file->Close();
  Rename(temporary, path);
  SyncDir(Parent(path));
}

void FileSystem::RemoveTree(const std::string& path) {
  for (const std::string& name : List(path)) {
    const std::string child = path + "/" + name;
    // A directory lists; a file does not. An empty directory looks like a file: try both.
    if (!List(child).empty()) {
      RemoveTree(child);
      continue;
    }
    try {
      RemoveFile(child);
    } catch (const Error&) {
      RemoveDir(child);
    }
  }
  RemoveDir(path);
}

void FileSystem::MakeDirs(const std::string& path) {
  if (path.empty() || Exists(path)) return;
  MakeDirs(Parent(path));
  MakeDir(path);
}

FileSystem& PosixFileSystem() {
  static Posix posix;
  return posix;
}

}  // namespace contrail
