#include "data/shard_list.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "common/error.h"
#include "common/paths.h"
#include "common/strings.h"
#include "data/index_text.h"

namespace contrail::data {
namespace {

constexpr std::string_view kMagic = "contrail-shards 1\n";
constexpr std::string_view kNameField = " name=";
constexpr std::string_view kReserved = " \n";  // in a field

// Of what a shard's name stands for now.
FileStamp StampOf(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    const int err = errno;
    if (err != ENOENT && err != ENOTDIR && err != EACCES)
      throw IoError(err, path, "cannot be seen");
    throw UserError("E-DATA-MISSING", std::filesystem::absolute(path).lexically_normal().string(),
                    err == EACCES ? "not readable: " + ErrnoText(err) : "no such file",
                    "check the path and the numbers between the braces");
  }
  return {static_cast<uint64_t>(info.st_size),
          int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
}

}  // namespace

std::string IndexFolder(const std::string& folder, const std::string& index_dir) {
  if (index_dir.empty()) return folder;
  std::string path = std::filesystem::absolute(folder).lexically_normal().string();
  while (path.ends_with('/')) path.pop_back();
  return index_dir + path;
}

ShardList ReadShardList(const std::string& index_folder) {
  ShardList list;
  const std::string path = index_folder + "/" + std::string(kShardListName);
  std::optional<std::string> text;
  try {
    text = PosixFileSystem().ReadIfThere(path);
  } catch (const IoError&) {
    return list;
  }
  if (!text || !text->starts_with(kMagic)) return list;
  const std::optional<std::string_view> sealed = BodyOf(*text);
  if (!sealed) return list;
  const std::string_view body = *sealed;
  for (size_t at = kMagic.size(); at < body.size();) {
    const size_t newline = std::min(body.find('\n', at), body.size());
    const std::string_view line = body.substr(at, newline - at);
    const size_t name = line.rfind(kNameField);
    if (name == std::string_view::npos) return {};
    list[UnescapeField(line.substr(name + kNameField.size()))] = line.substr(0, name);
    at = newline + 1;
  }
  return list;
}

void AddToLists(std::map<std::string, ShardList>& lists, const std::string& path,
                const std::string& index_text) {
  lists[FolderOf(path)][BaseName(path)] = index_text.substr(0, index_text.find('\n'));
}

std::string ShardListText(const ShardList& list) {
  std::string text(kMagic);
  for (const auto& [name, line] : list)
    text += line + std::string(kNameField) + EscapeField(name, kReserved) + "\n";
  return Sealed(std::move(text));
}

void UpdateShardList(FileSystem& files, const std::string& folder, const std::string& index_dir,
                     const ShardList& entries) {
  const std::string index_folder = IndexFolder(folder, index_dir);
  ShardList list = ReadShardList(index_folder);
  const std::vector<std::string> names = files.List(folder);
  const std::set<std::string> there(names.begin(), names.end());
  std::erase_if(list, [&](const auto& entry) { return !there.contains(entry.first); });
  for (const auto& [name, line] : entries) list[name] = line;
  files.MakeDirs(index_folder);
  files.WriteAtomically(index_folder + "/" + std::string(kShardListName), ShardListText(list));
}

std::vector<ListedShard> FindInLists(const std::vector<std::string>& paths,
                                     const std::string& index_dir) {
  std::map<std::string, ShardList> lists;  // by folder
  std::vector<ListedShard> shards;
  for (const std::string& path : paths) {
    const std::string folder = FolderOf(path);
    const auto [list, fresh] = lists.try_emplace(folder);
    if (fresh) {
      if (!index_dir.empty()) list->second = ReadShardList(IndexFolder(folder, index_dir));
      if (list->second.empty()) list->second = ReadShardList(folder);
    }
    const auto line = list->second.find(BaseName(path));
    shards.push_back({path, line == list->second.end() ? "" : line->second});
  }
  return shards;
}

std::optional<ShardHead> ListedHead(const ListedShard& shard) {
  if (shard.line.empty()) return std::nullopt;
  const FileStamp stamp = StampOf(shard.path);
  const std::optional<IndexHead> head = HeadOfLine(shard.line, stamp);
  if (!head) return std::nullopt;
  return HeadOf(shard.path, stamp.bytes, *head);
}

}  // namespace contrail::data
