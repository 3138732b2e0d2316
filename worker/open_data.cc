#include "worker/open_data.h"

#include "common/error.h"
#include "common/file_system.h"
#include "common/host_name.h"
#include "common/strings.h"
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

// One rank lists directories; all others take its word.
std::vector<std::string> PathsOfRoot(Comm& comm, const std::vector<std::string>& patterns,
                                     const data::OnBytes& moved) {
  std::vector<std::string> paths;
  Together(comm, [&] {
    if (comm.rank() == 0) paths = data::ShardPaths(patterns, [&] { moved(1); });
  });
  const std::string_view separator("\0", 1);  // in no path
  const std::string list = comm.BroadcastText(Join(paths, separator), 0);
  return list.empty() ? std::vector<std::string>() : Split(list, separator[0]);
}

// This rank's part of the heads; the others have their path only.
void ReadPart(Comm& comm, const Part& part, const data::OnBytes& moved,
              std::vector<data::ShardHead>& heads) {
  Together(comm, [&] {
    try {
      for (size_t shard = part.begin; shard < part.end; ++shard) {
        heads[shard] = data::ReadShardHead(heads[shard].path, moved);
        moved(1);
      }
    } catch (const Error& error) {
      if (comm.size() == 1) throw;
      throw Error(error.kind(), error.id(), "",
                  std::string(error.what()).substr(error.id().size() + 2) + " (" + Who(comm) + ")");
    }
  });
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
                                              const data::OnBytes& told) {
  const data::OnBytes moved = told ? told : [](uint64_t) {};
  std::vector<data::ShardHead> heads;
  for (std::string& path : PathsOfRoot(comm, patterns, moved))
    heads.push_back({.path = std::move(path)});
  const Part part(comm, heads.size());
  ReadPart(comm, part, moved, heads);
  ShareParts(comm, part, heads);
  CompareViews(comm, part, heads);
  const auto dataset = data::Dataset::OpenKnown(heads, caption_key);
  Together(comm, [&] { data::CheckNotEmpty(*dataset, patterns); });
  return dataset;
}

}  // namespace contrail::worker
