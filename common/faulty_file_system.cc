#include <cerrno>

#include "common/error.h"
#include "common/recording_file_system.h"

namespace contrail {
namespace {

[[noreturn]] void Fail(const std::string& path, const char* doing) {
  throw IoError(ENOSPC, path, std::string("could not ") + doing);
}

}  // namespace

class FaultyFileSystem::File : public WritableFile {
 public:
  File(FaultyFileSystem& owner, std::unique_ptr<WritableFile> inner, std::string path)
      : owner_(owner), inner_(std::move(inner)), path_(std::move(path)) {}

  void PWrite(const void* data, size_t size, uint64_t offset) override {
    if (owner_.Fails()) {
      inner_->PWrite(data, size / 2, offset);
      Fail(path_, "write");
    }
    inner_->PWrite(data, size, offset);
  }
  void Sync() override {
    owner_.MayFail(path_, "fsync");
    inner_->Sync();
  }
  void Close() override {
    owner_.MayFail(path_, "close");
    inner_->Close();
  }

 private:
  FaultyFileSystem& owner_;
  std::unique_ptr<WritableFile> inner_;
  const std::string path_;
};

FaultyFileSystem::FaultyFileSystem(FileSystem& inner, uint64_t fail_at, bool for_good)
    : inner_(inner), fail_at_(fail_at), for_good_(for_good) {}

bool FaultyFileSystem::Fails() {
  const uint64_t number = ++operations_;
  return number == fail_at_ || (for_good_ && number > fail_at_);
}

void FaultyFileSystem::MayFail(const std::string& path, const char* doing) {
  if (Fails()) Fail(path, doing);
}

std::unique_ptr<WritableFile> FaultyFileSystem::Open(const std::string& path, Mode mode) {
  MayFail(path, "create");
  return std::make_unique<File>(*this, inner_.Open(path, mode), path);
}

void FaultyFileSystem::Rename(const std::string& from, const std::string& to) {
  MayFail(from, "rename");
  inner_.Rename(from, to);
}

void FaultyFileSystem::SyncDir(const std::string& path) {
  MayFail(path, "fsync the directory");
  inner_.SyncDir(path);
}

void FaultyFileSystem::MakeDir(const std::string& path) {
  MayFail(path, "make the directory");
  inner_.MakeDir(path);
}

bool FaultyFileSystem::MakeNewDir(const std::string& path) {
  MayFail(path, "make the directory");
  return inner_.MakeNewDir(path);
}

void FaultyFileSystem::RemoveFile(const std::string& path) {
  MayFail(path, "remove");
  inner_.RemoveFile(path);
}

void FaultyFileSystem::RemoveDir(const std::string& path) {
  MayFail(path, "remove the directory");
  inner_.RemoveDir(path);
}

void FaultyFileSystem::FailQuestions(std::string part, int number, uint64_t times) {
  const std::lock_guard lock(mutex_);
  part_ = std::move(part);
  number_ = number;
  questions_left_ = times;
}

void FaultyFileSystem::Ask(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  if (questions_left_ == 0 || path.find(part_) == std::string::npos) return;
  --questions_left_;
  throw IoError(number_, path, "could not tell");
}

bool FaultyFileSystem::Exists(const std::string& path) const {
  Ask(path);
  return inner_.Exists(path);
}

EntryKind FaultyFileSystem::KindOf(const std::string& path) const {
  Ask(path);
  return inner_.KindOf(path);
}

uint64_t FaultyFileSystem::FileSize(const std::string& path) const {
  Ask(path);
  return inner_.FileSize(path);
}

std::vector<std::string> FaultyFileSystem::List(const std::string& path) const {
  Ask(path);
  return inner_.List(path);
}

std::unique_ptr<ReadableFile> FaultyFileSystem::OpenToRead(const std::string& path) const {
  Ask(path);
  return inner_.OpenToRead(path);
}

std::optional<std::string> FaultyFileSystem::ReadIfThere(const std::string& path) const {
  Ask(path);
  return inner_.ReadIfThere(path);
}

}  // namespace contrail
