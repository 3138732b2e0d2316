#include "worker/open_data.h"

#include <algorithm>

#include "common/error.h"
#include "common/file_system.h"
#include "common/host_name.h"
#include "common/log.h"
#include "common/strings.h"
#include "data/shard_list.h"
#include "worker/agree.h"

namespace contrail::worker {
namespace {

std::string Who(const Comm& comm) {
  return "rank " + std::to_string(comm.rank()) + " on " + HostName();
}

// Shards [begin, end) are this rank's to look into.
struct Part {
  Part(const Comm& comm, size_t shards)
      : begin(shards * static_cast<size_t>(comm.rank()) / static_cast<size_t>(comm.size())),
        end(shards * static_cast<size_t>(comm.rank() + 1) / static_cast<size_t>(comm.size())) {}
  size_t begin, end;
};

// One rank lists directories and reads what is known of their shards; all others take its word.
std::vector<data::ListedShard> ShardsOfRoot(Comm& comm, const std::vector<std::string>& patterns,
                                            const std::string& index_dir,
                                            const data::OnBytes& moved) {
  constexpr char kSeparator = '\0';  // in no path, and in no line
  std::string text;
  Together(comm, [&] {
    if (comm.rank() != 0) return;
    const auto paths = data::ShardPaths(patterns, [&] { moved(1); });
    for (const auto& shard : data::FindInLists(paths, index_dir)) {
      text += shard.path + kSeparator + shard.line + kSeparator;
    }
  });
  text = comm.BroadcastText(text, 0);
  std::vector<data::ListedShard> shards;
  size_t at = 0;
  const auto next = [&text, &at] {
    const size_t end = text.find(kSeparator, at);
    const std::string field = text.substr(at, end - at);
    at = end + 1;
    return field;
  };
  while (at < text.size()) {
    const std::string path = next();
    shards.push_back({path, next()});
  }
  return shards;
}

// This rank's part of the heads; the others have their path only. Gives how many shards of the part
// had to be opened.
uint64_t ReadPart(Comm& comm, const Part& part, const data::OnBytes& moved,
                  const std::vector<data::ListedShard>& listed, const std::string& index_dir,
                  std::vector<data::ShardHead>& heads) {
  uint64_t opened = 0;
  Together(comm, [&] {
    try {
      for (size_t shard = part.begin; shard < part.end; ++shard) {
        if (const auto known = data::ListedHead(listed[shard])) {
          heads[shard] = *known;
        } else {
          heads[shard] = data::ReadShardHead(listed[shard].path, index_dir, moved);
          ++opened;
        }
        moved(1);
      }
    } catch (const Error& error) {
      if (comm.size() == 1) throw;
      throw Error(error.kind(), error.id(), "",
                  std::string(error.what()).substr(error.id().size() + 2) + " (" + Who(comm) + ")");
    }
  });
  return opened;
}

// Shards that had to be opened cost a start, and nobody sees why.
void SayWhatWasOpened(Comm& comm, const std::vector<data::ListedShard>& listed, uint64_t opened) {
  constexpr size_t kMany = 1000;
  at::Tensor all = at::full({1}, static_cast<int64_t>(opened), at::kLong);
  at::Tensor of_ranks = at::empty({comm.size(), 1}, at::kLong);
  comm.AllGather(of_ranks, all);
  const int64_t sum = of_ranks.sum().item<int64_t>();
  if (comm.rank() != 0 || sum == 0) return;
  const auto known = std::count_if(listed.begin(), listed.end(),
                                   [](const auto& shard) { return !shard.line.empty(); });
  const std::string counts = std::to_string(sum) + " of " + std::to_string(listed.size());
  if (known > 0) {
    LogWarning(counts +
               " shards have changed since `contrail data index`, or are new, and were "
               "opened; run it again");
  } else if (listed.size() >= kMany) {
    LogInfo("no contrail.index: " + counts +
            " shards were opened to start; `contrail data index` "
            "makes it one file");
  }
}

// A head's numbers in a row, and back.
constexpr int64_t kNumbers = 4 + std::ssize(data::kLeftOutKinds);

void Write(const data::ShardHead& head, int64_t* row) {
  for (const uint64_t n : {head.bytes, head.samples, head.captions, head.left_out.groups}) {
    *row++ = static_cast<int64_t>(n);
  }
  for (const uint64_t n : head.left_out.pictures) *row++ = static_cast<int64_t>(n);
}

void Read(const int64_t* row, data::ShardHead& head) {
  for (uint64_t* n : {&head.bytes, &head.samples, &head.captions, &head.left_out.groups}) {
    *n = static_cast<uint64_t>(*row++);
  }
  for (uint64_t& n : head.left_out.pictures) n = static_cast<uint64_t>(*row++);
}

void ShareParts(Comm& comm, const Part& part, std::vector<data::ShardHead>& heads) {
  const auto most = std::ssize(heads) / comm.size() + 1;
  at::Tensor own = at::zeros({most, kNumbers}, at::kLong);
  for (size_t shard = part.begin; shard < part.end; ++shard) {
    Write(heads[shard], own.mutable_data_ptr<int64_t>() + kNumbers * (shard - part.begin));
  }
  at::Tensor all = at::empty({comm.size(), most, kNumbers}, at::kLong);
  comm.AllGather(all, own);
  size_t shard = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    const auto end =
        heads.size() * static_cast<size_t>(rank + 1) / static_cast<size_t>(comm.size());
    const int64_t* row = all.const_data_ptr<int64_t>() + kNumbers * most * rank;
    for (; shard < end; ++shard, row += kNumbers) Read(row, heads[shard]);
  }
}

// Every rank asks for the size of a shard from the other half, which a rank of another node looked
// into: a node without the data, or with a copy of its own, shows here and not hours later.
void CompareViews(Comm& comm, const Part& part, const std::vector<data::ShardHead>& heads) {
  if (comm.size() == 1 || heads.empty()) return;
  Together(comm, [&] {
    const data::ShardHead& head = heads[(part.begin + heads.size() / 2) % heads.size()];
    const FileSystem& fs = PosixFileSystem();
    if (!fs.Exists(head.path)) {
      throw UserError("E-DATA-MISSING", head.path, "is not there for " + Who(comm),
                      "every node must see the same shards");
    }
    const uint64_t bytes = fs.FileSize(head.path);
    if (bytes == head.bytes) return;
    throw UserError("E-RANKS-DISAGREE", Who(comm),
                    "sees " + head.path + " with " + std::to_string(bytes) +
                        " bytes, and another rank with " + std::to_string(head.bytes),
                    "every node must see the same files: config, contrail-worker and shards");
  });
}

}  // namespace

std::shared_ptr<const data::Dataset> OpenData(Comm& comm, const std::vector<std::string>& patterns,
                                              const data::CaptionKey& caption_key,
                                              const data::OnBytes& told,
                                              const std::string& index_dir) {
  const data::OnBytes moved = told ? told : [](uint64_t) {};
  const std::vector<data::ListedShard> listed = ShardsOfRoot(comm, patterns, index_dir, moved);
  std::vector<data::ShardHead> heads;
  for (const data::ListedShard& shard : listed) heads.push_back({.path = shard.path});
  const Part part(comm, heads.size());
  SayWhatWasOpened(comm, listed, ReadPart(comm, part, moved, listed, index_dir, heads));
  ShareParts(comm, part, heads);
  CompareViews(comm, part, heads);
  const auto dataset = data::Dataset::OpenKnown(heads, caption_key, index_dir);
  Together(comm, [&] { data::CheckNotEmpty(*dataset, patterns); });
  return dataset;
}

}  // namespace contrail::worker
