#pragma once
// Writes a set of shards so that either all of it appears under its final names or nothing does.

#include <memory>
#include <string>
#include <vector>

#include "data/pack.h"
#include "data/shard_list.h"

namespace contrail::data {

// Throws UserError E-DATA-EXISTS where `options.out` holds a shard of `options.name`.
void RefuseExisting(const FileSystem& files, const PackOptions& options);

class ShardWriter {
 public:
  ShardWriter(FileSystem& files, const PackOptions& options);
  ~ShardWriter();  // without a completed Commit, removes all that it made

  void Add(const PackSample& sample);
  // A whole text file beside the shards, committed with them.
  void AddFile(const std::string& name, const std::string& text);

  // Makes all durable, then renames. The first shard's name appears last.
  PackResult Commit();

 private:
  void OpenShard();
  void CloseShard();
  void Append(const std::string& name, const std::string& contents);
  void Flush(bool all);
  void AddList();
  std::string FinalPath(size_t shard) const;

  FileSystem& files_;
  const PackOptions& options_;
  std::vector<std::string> pending_;  // final paths whose .tmp is to be renamed or removed
  ShardList list_;                    // of the shards closed so far
  std::vector<std::string> renamed_;  // by a Commit that has not come to its end
  std::unique_ptr<WritableFile> file_;
  std::string buffer_;
  uint64_t offset_ = 0;
  uint64_t in_shard_ = 0;
  bool made_folder_ = false;
  bool committed_ = false;
  PackResult result_;
};

}  // namespace contrail::data
