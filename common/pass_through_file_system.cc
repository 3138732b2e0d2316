#include "common/pass_through_file_system.h"

#include <utility>

namespace contrail {

template <typename Work>
auto PassThroughFileSystem::Pass(Act act, const std::string& path, const char* doing,
                                 const Work& work) const {
  Before(act, path, doing);
  struct Ends {
    const PassThroughFileSystem& owner;
    ~Ends() { owner.After(); }
  } ends{*this};
  return work();
}

class PassThroughFileSystem::Written : public WritableFile {
 public:
  Written(const PassThroughFileSystem& owner, std::unique_ptr<WritableFile> inner, std::string path)
      : owner_(owner), inner_(std::move(inner)), path_(std::move(path)) {}
  void Reserve(uint64_t size) override {
    owner_.Pass(Act::kChange, path_, "make room", [&] { inner_->Reserve(size); });
  }
  void PWrite(const void* data, size_t size, uint64_t offset) override {
    owner_.PassWrite(*inner_, path_, &WritableFile::PWrite, data, size, offset);
  }
  void PWriteThrough(const void* data, size_t size, uint64_t offset) override {
    owner_.PassWrite(*inner_, path_, &WritableFile::PWriteThrough, data, size, offset);
  }
  void Sync() override {
    owner_.Pass(Act::kChange, path_, "fsync", [&] { inner_->Sync(); });
  }
  void Close() override {
    owner_.Pass(Act::kChange, path_, "close", [&] { inner_->Close(); });
  }

 private:
  const PassThroughFileSystem& owner_;
  const std::unique_ptr<WritableFile> inner_;
  const std::string path_;
};

class PassThroughFileSystem::Read : public ReadableFile {
 public:
  Read(const PassThroughFileSystem& owner, std::unique_ptr<ReadableFile> inner, std::string path)
      : owner_(owner), inner_(std::move(inner)), path_(std::move(path)) {}
  void PRead(void* data, size_t size, uint64_t offset) const override {
    owner_.Pass(Act::kReadOn, path_, "read", [&] { inner_->PRead(data, size, offset); });
  }
  uint64_t size() const override { return inner_->size(); }

 private:
  const PassThroughFileSystem& owner_;
  const std::unique_ptr<ReadableFile> inner_;
  const std::string path_;
};

void PassThroughFileSystem::PassWrite(WritableFile& file, const std::string& path, Write write,
                                      const void* data, size_t size, uint64_t offset) const {
  Pass(Act::kChange, path, "write", [&] { (file.*write)(data, size, offset); });
}

std::unique_ptr<WritableFile> PassThroughFileSystem::Open(const std::string& path, Mode mode) {
  return Pass(Act::kChange, path, "create",
              [&] { return std::make_unique<Written>(*this, inner_.Open(path, mode), path); });
}

void PassThroughFileSystem::Rename(const std::string& from, const std::string& to) {
  Pass(Act::kChange, from, "rename", [&] { inner_.Rename(from, to); });
}

void PassThroughFileSystem::SyncDir(const std::string& path) {
  Pass(Act::kChange, path, "fsync the directory", [&] { inner_.SyncDir(path); });
}

void PassThroughFileSystem::MakeDir(const std::string& path) {
  Pass(Act::kChange, path, "make the directory", [&] { inner_.MakeDir(path); });
}

bool PassThroughFileSystem::MakeNewDir(const std::string& path) {
  return Pass(Act::kChange, path, "make the directory", [&] { return inner_.MakeNewDir(path); });
}

void PassThroughFileSystem::RemoveFile(const std::string& path) {
  Pass(Act::kChange, path, "remove", [&] { inner_.RemoveFile(path); });
}

void PassThroughFileSystem::RemoveDir(const std::string& path) {
  Pass(Act::kChange, path, "remove the directory", [&] { inner_.RemoveDir(path); });
}

bool PassThroughFileSystem::Exists(const std::string& path) const {
  return Pass(Act::kAsk, path, "tell", [&] { return inner_.Exists(path); });
}

EntryKind PassThroughFileSystem::KindOf(const std::string& path) const {
  return Pass(Act::kAsk, path, "tell", [&] { return inner_.KindOf(path); });
}

uint64_t PassThroughFileSystem::FileSize(const std::string& path) const {
  return Pass(Act::kAsk, path, "tell", [&] { return inner_.FileSize(path); });
}

std::vector<std::string> PassThroughFileSystem::List(const std::string& path) const {
  return Pass(Act::kAsk, path, "tell", [&] { return inner_.List(path); });
}

std::unique_ptr<ReadableFile> PassThroughFileSystem::OpenToRead(const std::string& path) const {
  return Pass(Act::kAsk, path, "tell",
              [&] { return std::make_unique<Read>(*this, inner_.OpenToRead(path), path); });
}

std::optional<std::string> PassThroughFileSystem::ReadIfThere(const std::string& path) const {
  return Pass(Act::kAsk, path, "tell", [&] { return inner_.ReadIfThere(path); });
}

}  // namespace contrail
