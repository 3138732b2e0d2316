#include "model/files/new_file.h"

#include "common/error.h"
#include "common/paths.h"
#include "common/token.h"

namespace contrail::model::files {

void RequireNew(const FileSystem& fs, const std::string& path) {
  if (fs.KindOf(path) != EntryKind::kNone) {  // a link to nothing is there, too
    throw UserError("E-OUT-EXISTS", path, "exists already", "remove it or choose another name");
  }
  if (!fs.Exists(FolderOf(path))) {
    throw UserError("E-OUT-DIR", FolderOf(path), "no such directory", "create it first");
  }
}

std::string TemporaryName(const std::string& path) { return path + ".tmp-" + RandomToken(); }

NewFile::NewFile(FileSystem& fs, std::string path)
    : fs_(fs), path_(std::move(path)), temporary_(TemporaryName(path_)) {
  RequireNew(fs_, path_);
  file_ = fs_.Open(temporary_, FileSystem::Mode::kExclusive);
}

NewFile::~NewFile() {
  if (temporary_.empty()) return;
  file_.reset();
  try {
    fs_.RemoveFile(temporary_);
  } catch (const Error&) {  // the failure that brought us here is the one to report
  }
}

void NewFile::Append(const void* bytes, uint64_t size) {
  file_->PWrite(bytes, size, size_);
  size_ += size;
}

void NewFile::Overwrite(uint64_t offset, std::string_view bytes) {
  CONTRAIL_ASSERT(offset + bytes.size() <= size_);
  file_->PWrite(bytes.data(), bytes.size(), offset);
}

void NewFile::Commit() {
  file_->Sync();
  file_->Close();
  fs_.Rename(temporary_, path_);
  temporary_.clear();
  fs_.SyncDir(FolderOf(path_));
}

}  // namespace contrail::model::files
