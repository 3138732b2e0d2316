#include "common/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <mutex>
#include <utility>

#include "common/error.h"

namespace contrail {
namespace {

[[noreturn]] void Fail(const std::string& path, const std::string& doing) {
  throw IoError(errno, path, "could not " + doing);
}

// Closes on every way out, and keeps errno.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    const int err = errno;
    if (fd_ >= 0) ::close(fd_);
    errno = err;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

class PosixFile : public WritableFile {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override {
    if (fd_ >= 0) ::close(fd_);
    if (direct_ >= 0) ::close(direct_);
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

  void Reserve(uint64_t size) override {
    int result = 0;
    do {
      result = ::fallocate(fd_, 0, 0, static_cast<off_t>(size));
    } while (result != 0 && errno == EINTR);
    // A file system without the call makes room as it goes.
    if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) {
      Fail(path_, "make room for " + std::to_string(size) + " bytes");
    }
  }

  void PWriteThrough(const void* data, size_t size, uint64_t offset) override {
    const char* p = static_cast<const char*>(data);
    const size_t done = WriteDirect(p, size, offset);
    if (done == size) return;
    PWrite(p + done, size - done, offset + done);
    if (size - done >= kPage) WriteBack(size - done, offset + done);
  }

  void Sync() override {
    if (::fsync(fd_) != 0) Fail(path_, "fsync");
  }

  void Close() override {
    const int direct = std::exchange(direct_, -1);
    if (direct >= 0 && ::close(direct) != 0) Fail(path_, "close");
    if (::close(std::exchange(fd_, -1)) != 0) Fail(path_, "close");
  }

 private:
  static constexpr size_t kPage = 4096;

  // Returns how many bytes it wrote: none where direct I/O is refused.
  size_t WriteDirect(const char* data, size_t size, uint64_t offset) {
    if (reinterpret_cast<uintptr_t>(data) % kPage != 0 || offset % kPage != 0) return 0;
    const size_t whole = size / kPage * kPage;
    size_t done = 0;
    // A write that fell short of a page (a disk just full) is taken up by an ordinary one, whose
    // error says why.
    while (done < whole && done % kPage == 0) {
      const int fd = Direct();
      if (fd < 0) break;
      const ssize_t n = ::pwrite(fd, data + done, whole - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {
        refused_.store(true);  // nothing was written: not an error of the disk
        break;
      }
      if (n < 0) Fail(path_, "write");
      done += static_cast<size_t>(n);
    }
    return done;
  }

  // The same file past the page cache, opened when first asked for; -1 where it is refused.
  int Direct() {
    std::call_once(opened_, [this] {
      const int fd = ::open(path_.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);
      if (fd < 0) return;  // the ordinary descriptor will do
      struct stat ours {
      }, found{};
      if (::fstat(fd_, &ours) == 0 && ::fstat(fd, &found) == 0 && ours.st_dev == found.st_dev &&
          ours.st_ino == found.st_ino) {
        direct_ = fd;
      } else {  // the name stands for another file by now
        ::close(fd);
      }
    });
    return refused_.load() ? -1 : direct_;
  }

  // From the page cache to the disk. What fails here is not told again by fsync, so it must be
  // told now; where the call does not exist, fsync does it all.
  void WriteBack(size_t size, uint64_t offset) {
    constexpr unsigned kStartAndWait =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (::sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(size),
                          kStartAndWait) == 0) {
      return;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP && errno != ESPIPE) {
      Fail(path_, "write back");
    }
  }

  int fd_;
  const std::string path_;
  std::once_flag opened_;
  int direct_ = -1;
  std::atomic<bool> refused_{false};
};

class PosixReadable : public ReadableFile {
 public:
  PosixReadable(int fd, std::string path) : fd_(fd), path_(std::move(path)) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) Fail(path_, "stat");
    size_ = static_cast<uint64_t>(info.st_size);
  }

  void PRead(void* data, size_t size, uint64_t offset) const override {
    char* p = static_cast<char*>(data);
    while (size > 0) {
      const ssize_t n = ::pread(fd_.get(), p, size, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n == 0) errno = ENODATA;
      if (n <= 0) {
        Fail(path_, "read " + std::to_string(size) + " bytes at " + std::to_string(offset));
      }
      p += n;
      size -= static_cast<size_t>(n);
      offset += static_cast<uint64_t>(n);
    }
  }

  uint64_t size() const override { return size_; }

 private:
  const Descriptor fd_;
  const std::string path_;
  uint64_t size_ = 0;
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

  bool MakeNewDir(const std::string& path) override {
    if (::mkdir(path.c_str(), 0755) == 0) return true;
    if (errno != EEXIST) Fail(path, "make the directory");
    return false;
  }

  void RemoveFile(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) Fail(path, "remove");
  }

  void RemoveDir(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0) Fail(path, "remove the directory");
  }

  bool Exists(const std::string& path) const override {
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0) return true;
    if (errno != ENOENT) Fail(path, "tell whether it is there");
    return false;
  }

  EntryKind KindOf(const std::string& path) const override {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) {
      if (errno != ENOENT) Fail(path, "tell whether it is there");
      return EntryKind::kNone;
    }
    if (S_ISDIR(info.st_mode)) return EntryKind::kDirectory;
    if (S_ISLNK(info.st_mode)) return EntryKind::kLink;
    return S_ISREG(info.st_mode) ? EntryKind::kFile : EntryKind::kOther;
  }

  uint64_t FileSize(const std::string& path) const override {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) Fail(path, "stat");
    return static_cast<uint64_t>(info.st_size);
  }

  std::vector<std::string> List(const std::string& path) const override {
    std::vector<std::string> names;
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) {
      if (errno != ENOENT) Fail(path, "list the directory");
      return names;
    }
    const dirent* entry = nullptr;
    // The end and a failure both return nothing; only errno tells them apart.
    while (errno = 0, (entry = ::readdir(dir)) != nullptr) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    const int err = errno;
    ::closedir(dir);
    errno = err;
    if (err != 0) Fail(path, "list the directory");
    std::sort(names.begin(), names.end());
    return names;
  }

  std::unique_ptr<ReadableFile> OpenToRead(const std::string& path) const override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) Fail(path, "open");
    return std::make_unique<PosixReadable>(fd, path);
  }

  std::optional<std::string> ReadIfThere(const std::string& path) const override {
    // On NFS a file that was replaced on another host goes stale under an open descriptor; its name
    // already stands for the new one.
    constexpr int kTries = 3;
    for (int tries = 1;; ++tries) {
      std::string text;
      const int err = ReadToTheEnd(path, &text);
      if (err == 0) return text;
      if (err == ENOENT) return std::nullopt;
      errno = err;
      if (err != ESTALE || tries == kTries) Fail(path, "read");
    }
  }

 private:
  // 0 or errno.
  static int ReadToTheEnd(const std::string& path, std::string* text) {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return errno;
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return errno;
    constexpr size_t kLeast = 4096;  // files of /proc say that they are empty
    size_t done = 0;
    text->resize(static_cast<size_t>(info.st_size) + kLeast);
    for (;;) {
      if (done == text->size()) text->resize(2 * done);
      const ssize_t n = ::read(fd.get(), text->data() + done, text->size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno;
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    text->resize(done);
    return 0;
  }
};

std::string Parent(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::string FileSystem::ReadAll(const std::string& path) const {
  std::optional<std::string> text = ReadIfThere(path);
  if (!text) throw IoError(ENOENT, path, "could not read");
  return std::move(*text);
}

void FileSystem::PRead(const std::string& path, void* data, size_t size, uint64_t offset) const {
  OpenToRead(path)->PRead(data, size, offset);
}

void FileSystem::WriteAtomically(const std::string& path, const std::string& text,
                                 std::string_view suffix) {
  const std::string temporary = path + std::string(suffix);
  auto file = Open(temporary, Mode::kTruncate);
  file->PWrite(text.data(), text.size(), 0);
  file->Sync();
  file->Close();
  Rename(temporary, path);
  SyncDir(Parent(path));
}

void FileSystem::RemoveTree(const std::string& path) {
  const EntryKind kind = KindOf(path);
  if (kind == EntryKind::kNone) return;
  if (kind != EntryKind::kDirectory) return RemoveFile(path);
  std::exception_ptr first;
  for (const std::string& name : List(path)) {
    try {
      RemoveTree(path + "/" + name);
    } catch (const Error&) {
      if (!first) first = std::current_exception();
    }
  }
  if (first) std::rethrow_exception(first);
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
