#pragma once
// What `contrail data index` knows of all shards of a folder, in one file: `contrail.index`.
//
// A job that starts on tens of thousands of shards must not open them: one process reads this file,
// and a look at each shard's size and time tells whether what it says still holds. It stands beside
// the shards, or in the same place under an index_dir (docs/data-format.md).

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/file_system.h"
#include "data/dataset.h"
#include "data/shard_index.h"

namespace contrail::data {

inline constexpr std::string_view kShardListName = "contrail.index";

// The first line of each shard's sidecar by the shard's file name.
using ShardList = std::map<std::string, std::string>;

// Where the indexes of a folder's shards lie.
std::string IndexFolder(const std::string& folder, const std::string& index_dir);

// The folder's list; empty where there is none, or it is of another version, torn or altered: the
// shards themselves tell as much.
ShardList ReadShardList(const std::string& index_folder);

// Adds a shard, whose sidecar is `index_text`, to the list of its folder.
void AddToLists(std::map<std::string, ShardList>& lists, const std::string& path,
                const std::string& index_text);

std::string ShardListText(const ShardList& list);

// Puts the entries into the folder's list and takes out shards that are gone; atomic, and the old
// list stays where it fails.
void UpdateShardList(FileSystem& files, const std::string& folder, const std::string& index_dir,
                     const ShardList& entries);

// A shard, and the line about it; "" where no list has it.
struct ListedShard {
  std::string path;
  std::string line;
};

// Reads the list of each folder among the paths once.
std::vector<ListedShard> FindInLists(const std::vector<std::string>& paths,
                                     const std::string& index_dir);

// The head that the list gives, after one system call; nothing where the shard is not listed, or
// has another size or time than it had then. Throws UserError E-DATA-MISSING, or IoError.
std::optional<ShardHead> ListedHead(const ListedShard& shard);

}  // namespace contrail::data
