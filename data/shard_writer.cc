#include "data/shard_writer.h"

#include <cstdio>

#include "common/error.h"
#include "data/shard_index.h"
#include "data/tar.h"

namespace contrail::data {
namespace {

constexpr size_t kBuffer = 4 << 20;

std::string Temporary(const std::string& path) { return path + ".tmp"; }

}  // namespace

void RefuseExisting(const FileSystem& files, const PackOptions& options) {
  for (const std::string& name : files.List(options.out)) {
    if (name.starts_with(options.name + "-") && name.ends_with(".tar")) {
      throw UserError("E-DATA-EXISTS", options.out + "/" + name, "the shard set exists already",
                      "choose another folder or --name, or remove it first");
    }
  }
}

ShardWriter::ShardWriter(FileSystem& files, const PackOptions& options)
    : files_(files), options_(options) {
  made_folder_ = !files.Exists(options.out);
  files.MakeDirs(options.out);
}

ShardWriter::~ShardWriter() {
  if (committed_) return;
  file_.reset();
  try {
    for (const std::string& path : pending_) {
      if (files_.Exists(Temporary(path))) files_.RemoveFile(Temporary(path));
    }
    for (const std::string& path : renamed_) files_.RemoveFile(path);
    if (made_folder_) files_.RemoveDir(options_.out);
  } catch (const Error&) {
    // The error being reported already is the one that matters.
  }
}

std::string ShardWriter::FinalPath(size_t shard) const {
  char number[24];
  std::snprintf(number, sizeof number, "-%06zu.tar", shard);
  return options_.out + "/" + options_.name + number;
}

void ShardWriter::OpenShard() {
  const std::string path = FinalPath(result_.shards.size());
  result_.shards.push_back(path);
  pending_.push_back(path);
  file_ = files_.Open(Temporary(path), FileSystem::Mode::kTruncate);
  offset_ = 0;
  in_shard_ = 0;
}

void ShardWriter::Append(const std::string& name, const std::string& contents) {
  buffer_ += TarHeader(name, contents.size());
  buffer_ += contents;
  buffer_.append(TarPadding(contents.size()), '\0');
}

void ShardWriter::Flush(bool all) {
  if (buffer_.size() < kBuffer && !all) return;
  file_->PWrite(buffer_.data(), buffer_.size(), offset_);
  offset_ += buffer_.size();
  buffer_.clear();
}

void ShardWriter::Add(const PackSample& sample) {
  if (!file_) OpenShard();
  Append(sample.key + "." + sample.extension, sample.image);
  if (sample.has_caption) Append(sample.key + ".txt", sample.caption);
  if (!sample.label.empty()) Append(sample.key + ".cls", sample.label);
  if (!sample.json.empty()) Append(sample.key + ".json", sample.json);
  Flush(false);
  ++result_.samples;
  if (++in_shard_ == options_.shard_samples) CloseShard();
}

void ShardWriter::CloseShard() {
  buffer_.append(2 * kTarBlock, '\0');
  Flush(true);
  file_->Sync();
  file_->Close();
  file_.reset();
  result_.bytes += offset_;
  // Indexing what was just written also proves that it reads back.
  const std::string& path = result_.shards.back();
  const PositionedFile tar(Temporary(path));
  const ShardIndex index = ScanShard(tar);
  CONTRAIL_ASSERT(index.samples.size() == in_shard_);
  const std::string text = IndexText(tar, index);
  AddFile(IndexPath(path).substr(options_.out.size() + 1), text);
  list_[path.substr(options_.out.size() + 1)] = text.substr(0, text.find('\n'));
}

// The folder's list, with what it says of other sets.
void ShardWriter::AddList() {
  ShardList list = ReadShardList(options_.out);
  for (const auto& [name, line] : list_) list[name] = line;
  AddFile(std::string(kShardListName), ShardListText(list));
}

void ShardWriter::AddFile(const std::string& name, const std::string& text) {
  const std::string path = options_.out + "/" + name;
  pending_.push_back(path);
  const auto file = files_.Open(Temporary(path), FileSystem::Mode::kTruncate);
  file->PWrite(text.data(), text.size(), 0);
  file->Sync();
  file->Close();
}

PackResult ShardWriter::Commit() {
  if (file_) CloseShard();
  AddList();
  while (!pending_.empty()) {
    const std::string& path = pending_.back();
    const bool replaces = files_.Exists(path);  // an older classnames.txt
    files_.Rename(Temporary(path), path);
    if (!replaces) renamed_.push_back(path);
    pending_.pop_back();
  }
  files_.SyncDir(options_.out);
  committed_ = true;
  return std::move(result_);
}

}  // namespace contrail::data
