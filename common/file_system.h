#pragma once
// Every durable write of Contrail goes through this interface, so that a test can record the
// operations and try every state a crash could leave (tests/checkpoint/crash_states_test.cc).
//
// Questions have three answers: yes, no, and "cannot tell". "No" is the kernel's ENOENT and nothing
// else; "cannot tell" (EIO, ESTALE, EMFILE, EACCES ...) throws. A caller that catches it must not
// go on as if the answer were no: a checkpoint that cannot be seen for a moment is not gone.
//
// Failures throw IoError (E-IO) with the path: of kind kUser where only the user can help (disk or
// quota full, no permission), kEnvironment otherwise. After a failed write, fsync or close the
// bytes of that file must be taken for lost: never retry in place, write a new file under a new
// name (file systems mark pages clean after a failed fsync).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace contrail {

class WritableFile {
 public:
  virtual ~WritableFile() = default;  // closes without a report; call Close() to learn of failure
  // Gives the file at least this size, and room on the disk where the file system can: a disk that
  // is too full says so before the first byte, and writes from several threads need not wait for
  // each other. What is not written yet reads as zeros, or is not there at all.
  virtual void Reserve(uint64_t /*size*/) {}
  // Both kinds of write: any number of threads, each on ranges of its own.
  virtual void PWrite(const void* data, size_t size, uint64_t offset) = 0;
  // As PWrite, for bytes that nobody here reads soon: returns when they have left for the disk, so
  // that what has returned is progress of the disk and Sync has little left to do. Whole pages
  // (4096 bytes; memory and offset at multiples of it) go past the page cache where the file system
  // lets them.
  virtual void PWriteThrough(const void* data, size_t size, uint64_t offset) {
    PWrite(data, size, offset);
  }
  virtual void Sync() = 0;  // fsync: the data is durable, the name is not (SyncDir)
  virtual void Close() = 0;
};

// A file held open: what is read stays that file, whatever happens to its name.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  // Exactly `size` bytes at `offset`; throws E-IO on a short read. Thread safe.
  virtual void PRead(void* data, size_t size, uint64_t offset) const = 0;
  virtual uint64_t size() const = 0;  // when it was opened
};

// What a name stands for; a link is a link, wherever it points.
enum class EntryKind { kNone, kFile, kDirectory, kLink, kOther };

class FileSystem {
 public:
  enum class Mode {
    kExclusive,  // fails where the file exists
    kTruncate,   // created or emptied
    kShared,     // created if missing, kept as it is otherwise (several writers, own ranges)
  };
  virtual ~FileSystem() = default;

  virtual std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) = 0;
  virtual void Rename(const std::string& from, const std::string& to) = 0;
  virtual void SyncDir(const std::string& path) = 0;
  virtual void MakeDir(const std::string& path) = 0;  // one level; an existing directory is fine
  // One level; false where the name is taken. Of several hosts that try, one gets true.
  virtual bool MakeNewDir(const std::string& path) = 0;
  virtual void RemoveFile(const std::string& path) = 0;  // a link itself, not what it points to
  virtual void RemoveDir(const std::string& path) = 0;   // must be empty

  virtual bool Exists(const std::string& path) const = 0;       // a link counts as its target
  virtual EntryKind KindOf(const std::string& path) const = 0;  // never follows a link
  virtual uint64_t FileSize(const std::string& path) const = 0;
  // Names (not paths) in a directory, sorted, without "." and ".."; empty where it is missing.
  virtual std::vector<std::string> List(const std::string& path) const = 0;
  virtual std::unique_ptr<ReadableFile> OpenToRead(const std::string& path) const = 0;
  // The whole file, opened once and read to its end: one that is replaced meanwhile is read as it
  // was. nullopt where there is none.
  virtual std::optional<std::string> ReadIfThere(const std::string& path) const = 0;

  // Helpers made of the above.
  std::string ReadAll(const std::string& path) const;
  void PRead(const std::string& path, void* data, size_t size, uint64_t offset) const;
  // Write `path`.tmp, fsync, rename, fsync the directory: readers see the old or the new text.
  // Several writers of one path give suffixes of their own (".tmp-9f3c"), or one takes away what
  // the other is about to rename.
  void WriteAtomically(const std::string& path, const std::string& text,
                       std::string_view suffix = ".tmp");
  // Removes a directory with everything in it, or whatever else has that name, or nothing where it
  // is gone; links are unlinked and never followed. Goes on past what cannot be removed and throws
  // the first failure at the end.
  void RemoveTree(const std::string& path);
  void MakeDirs(const std::string& path);  // mkdir -p
};

FileSystem& PosixFileSystem();

}  // namespace contrail
