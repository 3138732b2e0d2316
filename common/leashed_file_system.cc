#include "common/leashed_file_system.h"

#include <cerrno>
#include <utility>

#include "common/error.h"

namespace contrail {

template <typename Work>
auto LeashedFileSystem::Pass(const std::string& path, const Work& work) const {
  if (cut_) throw IoError(ECANCELED, path, "given up");
  struct Count {
    std::atomic<uint64_t>& done;
    ~Count() { ++done; }
  } count{done_};
  return work();
}

class LeashedFileSystem::Written : public WritableFile {
 public:
  Written(const LeashedFileSystem& owner, std::unique_ptr<WritableFile> inner, std::string path)
      : owner_(owner), inner_(std::move(inner)), path_(std::move(path)) {}
  void PWrite(const void* data, size_t size, uint64_t offset) override {
    owner_.Pass(path_, [&] { inner_->PWrite(data, size, offset); });
  }
  void Sync() override {
    owner_.Pass(path_, [&] { inner_->Sync(); });
  }
  void Close() override {
    owner_.Pass(path_, [&] { inner_->Close(); });
  }

 private:
  const LeashedFileSystem& owner_;
  const std::unique_ptr<WritableFile> inner_;
  const std::string path_;
};

class LeashedFileSystem::Read : public ReadableFile {
 public:
  Read(const LeashedFileSystem& owner, std::unique_ptr<ReadableFile> inner)
      : owner_(owner), inner_(std::move(inner)) {}
  void PRead(void* data, size_t size, uint64_t offset) const override {
    inner_->PRead(data, size, offset);
    ++owner_.done_;
  }
  uint64_t size() const override { return inner_->size(); }

 private:
  const LeashedFileSystem& owner_;
  const std::unique_ptr<ReadableFile> inner_;
};

std::unique_ptr<WritableFile> LeashedFileSystem::Open(const std::string& path, Mode mode) {
  return Pass(path,
              [&] { return std::make_unique<Written>(*this, inner_.Open(path, mode), path); });
}

void LeashedFileSystem::Rename(const std::string& from, const std::string& to) {
  Pass(from, [&] { inner_.Rename(from, to); });
}

void LeashedFileSystem::SyncDir(const std::string& path) {
  Pass(path, [&] { inner_.SyncDir(path); });
}

void LeashedFileSystem::MakeDir(const std::string& path) {
  Pass(path, [&] { inner_.MakeDir(path); });
}

bool LeashedFileSystem::MakeNewDir(const std::string& path) {
  return Pass(path, [&] { return inner_.MakeNewDir(path); });
}

void LeashedFileSystem::RemoveFile(const std::string& path) {
  Pass(path, [&] { inner_.RemoveFile(path); });
}

void LeashedFileSystem::RemoveDir(const std::string& path) {
  Pass(path, [&] { inner_.RemoveDir(path); });
}

bool LeashedFileSystem::Exists(const std::string& path) const {
  return Pass(path, [&] { return inner_.Exists(path); });
}

EntryKind LeashedFileSystem::KindOf(const std::string& path) const {
  return Pass(path, [&] { return inner_.KindOf(path); });
}

uint64_t LeashedFileSystem::FileSize(const std::string& path) const {
  return Pass(path, [&] { return inner_.FileSize(path); });
}

std::vector<std::string> LeashedFileSystem::List(const std::string& path) const {
  return Pass(path, [&] { return inner_.List(path); });
}

std::unique_ptr<ReadableFile> LeashedFileSystem::OpenToRead(const std::string& path) const {
  return Pass(path, [&] { return std::make_unique<Read>(*this, inner_.OpenToRead(path)); });
}

std::optional<std::string> LeashedFileSystem::ReadIfThere(const std::string& path) const {
  return Pass(path, [&] { return inner_.ReadIfThere(path); });
}

}  // namespace contrail
