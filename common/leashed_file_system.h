#pragma once
// A file system for work that may have to be given up, because an operation of it hangs in the
// kernel and no one can say for how long.

#include <atomic>

#include "common/file_system.h"

namespace contrail {

// Passes everything on and counts what comes back. Once it is cut, everything but a read of an open
// file throws E-IO (ECANCELED): a thread that comes back late changes nothing any more, except by
// the one operation that it hung in. `inner` must outlive the thread.
class LeashedFileSystem : public FileSystem {
 public:
  explicit LeashedFileSystem(FileSystem& inner) : inner_(inner) {}

  void Cut() { cut_ = true; }
  // Operations that have come back. Any thread; stands still where one hangs.
  uint64_t done() const { return done_; }

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

 private:
  class Written;
  class Read;
  template <typename Work>
  auto Pass(const std::string& path, const Work& work) const;

  FileSystem& inner_;
  std::atomic<bool> cut_{false};
  mutable std::atomic<uint64_t> done_{0};
};

}  // namespace contrail
