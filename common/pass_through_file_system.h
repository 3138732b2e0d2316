#pragma once
// The base of file systems that do something around the operations of another one.

#include "common/file_system.h"

namespace contrail {

// Passes everything on to `inner`, which must outlive it, and the files opened through it. A
// derived class says what happens around the operations, or overrides one that needs more.
class PassThroughFileSystem : public FileSystem {
 public:
  explicit PassThroughFileSystem(FileSystem& inner) : inner_(inner) {}

  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override;
  void Rename(const std::string& from, const std::string& to) override;
  void SyncDir(const std::string& path) override;
  void MakeDir(const std::string& path) override;
  bool MakeNewDir(const std::string& path) override;
  void RemoveFile(const std::string& path) override;
  void RemoveDir(const std::string& path) override;
  bool Exists(const std::string& path) const override;
  EntryKind KindOf(const std::string& path) const override;
  uint64_t FileSize(const std::string& path) const override;
  std::vector<std::string> List(const std::string& path) const override;
  std::unique_ptr<ReadableFile> OpenToRead(const std::string& path) const override;
  std::optional<std::string> ReadIfThere(const std::string& path) const override;

 protected:
  enum class Act {
    kChange,  // of the disk; of a file that is open, too
    kAsk,     // what is there, and opening it to read
    kReadOn,  // in a file that is open
  };
  // Around every operation; `doing` says for messages what "could not" be done. What Before throws,
  // the operation throws. Any thread.
  virtual void Before(Act /*act*/, const std::string& /*path*/, const char* /*doing*/) const {}
  virtual void After() const {}  // where the operation threw, too
  // In the place of a write's turn to `inner`: some bytes, to a file that is open.
  using Write = void (WritableFile::*)(const void* data, size_t size, uint64_t offset);
  virtual void PassWrite(WritableFile& file, const std::string& path, Write write, const void* data,
                         size_t size, uint64_t offset) const;

  FileSystem& inner() const { return inner_; }

 private:
  class Written;
  class Read;
  template <typename Work>
  auto Pass(Act act, const std::string& path, const char* doing, const Work& work) const;

  FileSystem& inner_;
};

}  // namespace contrail
