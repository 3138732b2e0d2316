#include "model/files/new_folder.h"

#include "common/error.h"
#include "common/paths.h"
#include "model/files/new_file.h"

namespace contrail::model::files {

NewFolder::NewFolder(FileSystem& fs, const std::string& path) : fs_(fs), path_(path) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  RequireNew(fs_, path_);
  std::string name = TemporaryName(path_);
  while (!fs_.MakeNewDir(name)) name = TemporaryName(path_);
  temporary_ = name;
}

NewFolder::~NewFolder() {
  try {
    fs_.RemoveTree(temporary_);
  } catch (const Error&) {  // the failure that brought us here is the one to report
  }
}

void NewFolder::Commit(const std::string& inside) {
  fs_.Rename(inside.empty() ? temporary_ : inside, path_);
  fs_.SyncDir(FolderOf(path_));
}

}  // namespace contrail::model::files
