#pragma once
// Every durable write of Contrail goes through this interface, so that a test can record the
// operations and try every state a crash could leave (tests/checkpoint/crash_states_test.cc).
//
// Failures throw E-IO with the path: UserError where only the user can help (disk or quota full, no
// permission), EnvironmentError otherwise. After a failed write, fsync or close the bytes of that
// file must be taken for lost: never retry in place, write a new file under a new name (file
// systems mark pages clean after a failed fsync).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace contrail {

class WritableFile {
 public:
  virtual ~WritableFile() = default;  // closes without a report; call Close() to learn of failure
  virtual void PWrite(const void* data, size_t size, uint64_t offset) = 0;
  virtual void Sync() = 0;  // fsync: the data is durable, the name is not (SyncDir)
  virtual void Close() = 0;
};

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
  virtual void RemoveFile(const std::string& path) = 0;
  virtual void RemoveDir(const std::string& path) = 0;  // must be empty

  virtual bool Exists(const std::string& path) const = 0;
  virtual uint64_t FileSize(const std::string& path) const = 0;
  // Names (not paths) in a directory, sorted, without "." and ".."; empty where it is missing.
  virtual std::vector<std::string> List(const std::string& path) const = 0;
  // Exactly `size` bytes at `offset`; throws E-IO on a short read.
  virtual void PRead(const std::string& path, void* data, size_t size, uint64_t offset) const = 0;

  // Helpers made of the above.
  std::string ReadAll(const std::string& path) const;
  // Write `path`.tmp, fsync, rename, fsync the directory: readers see the old or the new text.
  void WriteAtomically(const std::string& path, const std::string& text);
  void RemoveTree(const std::string& path);
  void MakeDirs(const std::string& path);  // mkdir -p
};

FileSystem& PosixFileSystem();

}  // namespace contrail
