#include "data/index_shards.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "common/error.h"
#include "data/dataset.h"
#include "data/shard_index.h"
#include "data/shard_list.h"

namespace contrail::data {
namespace {

constexpr size_t kFewestThreads = 8;  // they wait for the disk

// A shard's own part of the work; gives its sidecar's text.
std::string IndexShard(FileSystem& files, const std::string& path, const std::string& index_dir,
                       std::atomic<uint64_t>& written, std::atomic<uint64_t>& samples) {
  const PositionedFile tar(path);
  std::optional<ShardIndex> index = ReadIndex(tar, index_dir);
  if (!index) {
    index = ScanShard(tar);
    WriteIndex(files, tar, *index, index_dir);
    ++written;
  }
  samples += index->samples.size();
  return IndexText(tar, *index);
}

Error AdviseIndexDir(const IoError& error) {
  constexpr size_t kPrefix = sizeof "E-IO: " - 1;
  return UserError("E-IO", "data index", std::string(error.what()).substr(kPrefix),
                   "indexes of data that cannot be written go elsewhere: --index-dir DIR");
}

}  // namespace

IndexResult IndexShards(FileSystem& files, const std::vector<std::string>& patterns,
                        const std::string& index_dir) {
  const std::vector<std::string> paths = ShardPaths(patterns);
  std::map<std::string, ShardList> lists;  // by folder
  std::atomic<uint64_t> written{0}, samples{0};
  std::atomic<size_t> next{0};
  std::mutex mutex;
  size_t failed_at = paths.size();
  std::exception_ptr failure;
  const auto work = [&] {
    for (size_t i; (i = next++) < paths.size();) {
      try {
        const std::string text = IndexShard(files, paths[i], index_dir, written, samples);
        const std::lock_guard lock(mutex);
        AddToLists(lists, paths[i], text);
      } catch (...) {
        const std::lock_guard lock(mutex);
        next = paths.size();
        if (i >= failed_at) continue;
        failed_at = i;
        failure = std::current_exception();
      }
    }
  };
  try {
    const size_t threads = std::max<size_t>(kFewestThreads, std::thread::hardware_concurrency());
    std::vector<std::jthread> pool;
    for (size_t i = 1; i < std::min(threads, paths.size()); ++i) pool.emplace_back(work);
    work();
    pool.clear();
    if (failure) std::rethrow_exception(failure);
    for (const auto& [folder, list] : lists) UpdateShardList(files, folder, index_dir, list);
  } catch (const IoError& error) {
    const bool closed = error.number() == EROFS || error.number() == EACCES;
    if (closed && index_dir.empty()) throw AdviseIndexDir(error);
    throw;
  }
  return {written, paths.size() - written, samples};
}

}  // namespace contrail::data
