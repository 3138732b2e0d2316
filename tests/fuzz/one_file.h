#pragma once
// A file system of one file that is held in memory: what readers of foreign files are tried with.

#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/file_system.h"

namespace contrail {

class OneFile : public FileSystem {
 public:
  explicit OneFile(std::string contents) : bytes(std::move(contents)) {}
  std::string bytes;

  bool Exists(const std::string&) const override { return true; }
  EntryKind KindOf(const std::string&) const override { return EntryKind::kFile; }
  uint64_t FileSize(const std::string&) const override { return bytes.size(); }
  std::unique_ptr<ReadableFile> OpenToRead(const std::string& path) const override {
    return std::make_unique<Reader>(bytes, path);
  }
  std::optional<std::string> ReadIfThere(const std::string&) const override { return bytes; }
  std::vector<std::string> List(const std::string&) const override { return {}; }
  std::unique_ptr<WritableFile> Open(const std::string&, Mode) override { std::abort(); }
  void Rename(const std::string&, const std::string&) override { std::abort(); }
  void SyncDir(const std::string&) override { std::abort(); }
  void MakeDir(const std::string&) override { std::abort(); }
  bool MakeNewDir(const std::string&) override { std::abort(); }
  void RemoveFile(const std::string&) override { std::abort(); }
  void RemoveDir(const std::string&) override { std::abort(); }

 private:
  class Reader : public ReadableFile {
   public:
    Reader(const std::string& bytes, std::string path) : bytes_(bytes), path_(std::move(path)) {}
    void PRead(void* data, size_t size, uint64_t offset) const override {
      if (offset > bytes_.size() || size > bytes_.size() - offset) {
        throw EnvironmentError("E-IO", path_, "read past the end");  // readers must not ask
      }
      std::memcpy(data, bytes_.data() + offset, size);
    }
    uint64_t size() const override { return bytes_.size(); }

   private:
    const std::string& bytes_;
    const std::string path_;
  };
};

}  // namespace contrail
